"""What an attempt tells: numbered events, spooled to the run directory, then sent by cursor.

The spool is the truth; the control plane gets from it what it lacks, a batch at a time, when it can
be reached. Training never waits for it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from trainer.attempt.spool import Spool
from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEventData, EventBatch, EventReply
from trainer.contract.order_file import order_of
from trainer.contract.problem import ATTEMPT_DISOWNED, PROBLEM_MEDIA_TYPE
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import Desired

_log = logging.getLogger(__name__)

# Often enough for a pause to be felt soon; each report takes the service and the replica some 10 ms
# of CPU time (measured, docs/LOG.md), which on a small machine is taken from the training.
_HEARTBEAT_S = 2.0
_TIMEOUT_S = 5.0
_LONGEST_BACKOFF_S = 15.0
_BATCH = 200


# Sends one batch and returns the reply, or None when the control plane disowns the attempt.
# Raises httpx.HTTPError or ValidationError when it cannot be reached or makes no sense, MovedError
# when it is to be tried again at another address.
Post = Callable[[EventBatch], EventReply | None]


class MovedError(Exception):
    """The control plane has another address from now on."""


class Reporter:
    """Spools events and sends them from a thread; a context manager."""

    def __init__(
        self,
        spool: Path,
        *,
        post: Post | None,
        on_last_post: Callable[[], None] = lambda: None,
        watch: Callable[[AttemptEventData], None] = lambda _: None,
        flush_timeout_s: float = 5.0,
    ) -> None:
        """`post` None: only spool. `watch` is shown each event too.

        `on_last_post` is called by the thread that posts, when it will post no more: that may be
        after this context is left, if a post hangs.
        """
        self._spool = Spool(spool)
        self._watch = watch
        self._flush_timeout_s = flush_timeout_s
        self._closing = threading.Event()
        self._deadline = math.inf
        """When sending ends even if not all is sent, by time.monotonic; known once closing."""
        self.desired = Desired.RUN
        """What the control plane last said it wants."""
        self.disowned = False
        """Whether it said that this attempt is not the current one."""
        self._thread: threading.Thread | None = None
        if post is not None:
            self._thread = threading.Thread(
                target=self._send, args=(post, on_last_post), name="reporter", daemon=True
            )
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is left, within a bounded time; the rest stays in the spool.

        A post in flight may outlast that time; none is begun after it.
        """
        self._deadline = time.monotonic() + self._flush_timeout_s
        self._closing.set()
        if self._thread is not None:
            self._thread.join(self._flush_timeout_s)
        self._spool.close()

    def emit(self, data: AttemptEventData) -> None:
        """Spool an event, and have it sent; from any thread. Raises DiskFullError."""
        self._spool.append(data)
        self._watch(data)

    def _send(self, post: Post, on_last_post: Callable[[], None]) -> None:
        try:
            self._send_until_over(post)
        finally:
            on_last_post()

    def _send_until_over(self, post: Post) -> None:
        failures = 0
        while not (self.disowned or self._is_over()):
            try:
                self._take(post(EventBatch(events=self._spool.unsent(_BATCH))))
                failures = 0
            except (httpx.HTTPError, ValidationError, OSError, MovedError) as error:
                failures += 1
                _log.log(
                    logging.WARNING if failures == 1 else logging.DEBUG,
                    "events wait in the run directory: they cannot be sent now (%s)",
                    error,
                )
            self._pause(failures)

    def _is_over(self) -> bool:
        if not self._closing.is_set():
            return False
        return self._spool.num_unsent == 0 or time.monotonic() >= self._deadline

    def _take(self, reply: EventReply | None) -> None:
        if reply is None:
            self.disowned = True
            return
        self.desired = reply.desired
        self._spool.mark_stored(reply.stored_through)

    def _pause(self, failures: int) -> None:
        if self._closing.is_set():
            # At the end the tries are quick: their time is bounded.
            time.sleep(0.1 if failures else 0.0)
            return
        if failures or self._spool.num_unsent < _BATCH:
            self._closing.wait(min(_HEARTBEAT_S * 2 ** max(failures - 1, 0), _LONGEST_BACKOFF_S))


def post_to(order: AttemptOrder, attempt: AttemptDirectory, client: httpx.Client) -> Post:
    """Return the way to the control plane that the order names.

    The order is read again when nobody is reached there, or somebody disowns the attempt: a control
    plane that took over at another address has written it there.
    """
    assert order.control_plane_url is not None

    def post(batch: EventBatch) -> EventReply | None:
        nonlocal order
        try:
            reply = _send(batch, order, client)
        except (httpx.HTTPError, ValidationError):
            order = _read_again(order, attempt)
            raise
        if reply is None and (newer := _read_again(order, attempt)) != order:
            order = newer
            # Whether there is time for another try, the caller knows.
            raise MovedError(f"the control plane is at {order.control_plane_url} from now on")
        return reply

    return post


def _send(batch: EventBatch, order: AttemptOrder, client: httpx.Client) -> EventReply | None:
    base = str(order.control_plane_url).rstrip("/")
    answer = client.post(
        f"{base}/jobs/{order.job_id}/attempts/{order.attempt}/events",
        content=batch.model_dump_json(),
        headers={"Authorization": f"Bearer {order.token}", "Content-Type": "application/json"},
        timeout=_TIMEOUT_S,
    )
    if _disowns(answer):
        _log.warning("%s disowns this attempt: HTTP %d", base, answer.status_code)
        return None
    return EventReply.model_validate_json(answer.raise_for_status().content)


def _disowns(answer: httpx.Response) -> bool:
    # While the control plane is down, any server may have its port, and answer 403 or 404.
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if answer.is_success or media_type != PROBLEM_MEDIA_TYPE:
        return False
    try:
        problem = answer.json()
    except ValueError:
        return False
    return isinstance(problem, dict) and problem.get("type") == ATTEMPT_DISOWNED


def _read_again(order: AttemptOrder, attempt: AttemptDirectory) -> AttemptOrder:
    try:
        newer = order_of(attempt)
    except OSError:
        return order
    if newer is None or newer.control_plane_url in {None, order.control_plane_url}:
        return order
    _log.info("this attempt reports to %s from now on", newer.control_plane_url)
    return newer
