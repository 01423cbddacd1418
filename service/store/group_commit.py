"""Small writes that many wait for, in one transaction: one thread writes for all of them.

A commit is forced to disk, and a statement costs more than the rows it writes. What comes while the
thread writes is written next, together: the more is asked of it, the less each costs. While the
store takes nothing, what waits is refused rather than kept.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection

from service.store.errors import NotWrittenError, may_be_of_one_value

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# Assumed: beyond it a commit is no longer what costs, and those behind wait too long.
AT_ONCE = 64
# Assumed: more than the attempts of any cluster that report to one control plane.
MAX_WAITING = 1_000
# Assumed: three times what a thousand attempts report at once; in memory it takes some times more.
MAX_WAITING_BYTES = 16 << 20
# Attempts give a report up by then, and send it again.
PATIENCE_S = 5.0
# Of who waits in a thread: for what is written before, and for its own, 5 s each where a lock is
# held (see `engine`), and some more.
LONGEST_S = 15.0


@dataclass(frozen=True, kw_only=True)
class _Waiting(Generic[Item, Outcome]):
    item: Item
    size_bytes: int
    future: "Future[Outcome]" = field(default_factory=Future)
    since_s: float = field(default_factory=time.monotonic)


class GroupCommit(Generic[Item, Outcome]):
    """Takes items from any thread."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        write: Callable[[Connection, Sequence[Item]], Sequence[Outcome | Exception]],
    ) -> None:
        """`begin` gives a transaction; `write` writes items, and returns what came of each.

        `write` may be run twice, the first time undone.
        """
        self._begin = begin
        self._write = write
        self._waiting: deque[_Waiting[Item, Outcome]] = deque()
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="group-commit")
        self._writing: Future[None] | None = None
        """Goes on until nothing waits; None: nothing does."""
        self._is_closed = False
        self._lock = threading.Lock()
        """Of what waits, so that nothing comes to it once it is closed."""

    def submit(self, item: Item, size_bytes: int = 0) -> "Future[Outcome]":
        """Return what will come of an item once it is committed.

        Where `write` has no outcome but an error for it, that is raised; what comes of others does
        not touch it. NotWrittenError: it had no turn in PATIENCE_S, MAX_WAITING wait before it, or
        it would have more than MAX_WAITING_BYTES wait.
        """
        one = _Waiting[Item, Outcome](item=item, size_bytes=size_bytes)
        with self._lock:
            if self._is_closed:
                _refuse(one, "the store is being closed")
            elif len(self._waiting) >= MAX_WAITING:
                _refuse(one, f"{MAX_WAITING:,} wait before it")
            elif self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
                _refuse(one, f"{self._waiting_bytes:,} bytes wait before it")
            else:
                self._waiting.append(one)
                self._waiting_bytes += size_bytes
                if self._writing is None:
                    self._writing = self._thread.submit(self._write_waiting)
        return one.future

    def write(self, item: Item, size_bytes: int = 0) -> Outcome:
        """Wait for what comes of an item, for LONGEST_S at most; raises as `submit` tells.

        Of one that was given up it is not known whether it is written.
        """
        future = self.submit(item, size_bytes)
        wait([future], timeout=LONGEST_S)
        if not future.done():
            future.cancel()
            raise NotWrittenError(f"nothing came of it in {LONGEST_S:g} s")
        return future.result()

    def close(self) -> None:
        """Refuse what waits, and wait PATIENCE_S at most for what is being written."""
        with self._lock:
            self._is_closed = True
            waiting, writing = list(self._waiting), self._writing
            self._waiting.clear()
            self._waiting_bytes = 0
        for one in waiting:
            if one.future.set_running_or_notify_cancel():
                _refuse(one, "the store is being closed")
        if writing is not None:
            wait([writing], timeout=PATIENCE_S)
        self._thread.shutdown(wait=False)

    def _write_waiting(self) -> None:
        group: list[_Waiting[Item, Outcome]] = []
        try:
            while group := self._take():
                error = self._try(group)
                if error is None:
                    continue
                if len(group) > 1 and may_be_of_one_value(error):
                    self._write_each(group)
                else:
                    _fail(group, error)
        except BaseException as error:  # noqa: BLE001  # raised where it was asked for
            self._give_up(group, error)

    def _give_up(self, group: "list[_Waiting[Item, Outcome]]", error: BaseException) -> None:
        """Fail what was being written and has no outcome, and what waits; who comes begins anew."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._writing = None
        unwritten = [one for one in group if not one.future.done()]
        _fail(unwritten, error)
        _fail([one for one in waiting if one.future.set_running_or_notify_cancel()], error)

    def _take(self) -> "list[_Waiting[Item, Outcome]]":
        """Return what is to be written next; nothing: all is, and who comes now begins anew."""
        group: list[_Waiting[Item, Outcome]] = []
        with self._lock:
            while self._waiting and len(group) < AT_ONCE:
                one = self._waiting.popleft()
                self._waiting_bytes -= one.size_bytes
                # Nobody waits any longer for one that was cancelled, or is this old.
                if not one.future.set_running_or_notify_cancel():
                    continue
                if time.monotonic() - one.since_s > PATIENCE_S:
                    _refuse(one, f"no turn came in {PATIENCE_S:g} s")
                else:
                    group.append(one)
            if not group:
                self._writing = None
        return group

    def _write_each(self, group: "Sequence[_Waiting[Item, Outcome]]") -> None:
        """Write each alone, so that one that cannot be stored fails no other."""
        for place, one in enumerate(group):
            error = self._try([one])
            if error is not None and not may_be_of_one_value(error):
                _fail(group[place:], error)
                return
            if error is not None:
                _fail([one], error)

    def _try(self, group: "Sequence[_Waiting[Item, Outcome]]") -> BaseException | None:
        """Write a group together, and tell who waits what came of it; return why it was not."""
        try:
            with self._begin() as connection:
                outcomes = self._write(connection, [one.item for one in group])
        except BaseException as error:  # noqa: BLE001  # raised where it was asked for
            return error
        # Not before the commit: nobody is to take for stored what was undone.
        for one, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                one.future.set_exception(outcome)
            else:
                one.future.set_result(outcome)
        return None


def _fail(group: "Sequence[_Waiting[Item, Outcome]]", error: BaseException) -> None:
    for one in group:
        one.future.set_exception(error)


def _refuse(one: "_Waiting[Item, Outcome]", why: str) -> None:
    one.future.set_exception(NotWrittenError(why))
