"""Tells webhooks what they are to be told, in a thread of its own, while this process leads.

At least once and, of each job, in order: what was sent by a process that then died is sent again by
the next, under the same id. Nothing of it holds up whoever changes jobs.
"""

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from service.delivering.resolving import ResolverBusyError
from service.delivering.sender import Letter, send
from service.metrics import count_deliveries
from service.steady_clock import now_utc, wall_utc
from service.store.leases import LostLeadershipError
from service.store.outbox import due_deliveries, give_up_old, put_off, take
from service.store.store import Store
from service.store.webhooks import why_not_told
from service.webhooks.address import Network
from service.webhooks.patience import GIVE_UP_AFTER, next_try
from service.webhooks.records import Delivery, Try, Webhook

logger = logging.getLogger(__name__)

POLL_S = 1.0
MAX_AT_ONCE = 32
# Of one webhook, so that one that hangs keeps a few places alone.
MAX_OF_EACH = 2
# Of one owner, whose webhooks may all hang.
MAX_OF_OWNER = 8
# For the store.
_NUM_THREADS = 8
# Look for what is too old so often, and take out so much of it in one transaction.
GIVE_UP_EVERY_S = 60.0
_PIECE = 1000
# So long `stop` waits for the store, and then leaves it to the end of the process.
_STOP_S = 5.0
# The store is away, and comes back; what else it says it would say again.
_PASSING = (OperationalError, InterfaceError, NoConnectionError)
_STUCK_S = 60.0


class Deliverer:
    """Sends what is due. `start` it once, `stop` it once."""

    def __init__(
        self,
        store: Store,
        *,
        is_leader: Callable[[], bool],
        allowed: Sequence[Network],
        clock: Callable[[], datetime] = now_utc,
        poll_s: float = POLL_S,
        give_up_every_s: float = GIVE_UP_EVERY_S,
    ) -> None:
        self._store = store
        self._is_leader = is_leader
        self._allowed = tuple(allowed)
        self._clock = clock
        self._poll_s = poll_s
        self._under_way: dict[int, Webhook] = {}
        """Webhooks by the numbers of the deliveries that are being sent."""
        self._give_up_at = time.monotonic() + give_up_every_s
        self._give_up_every_s = give_up_every_s
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Send in the background."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Have it end; returns at once."""
        self._stopping.set()
        self._wake()

    def stop(self) -> None:
        """End: what is being sent is broken off, and sent again by the next leader."""
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _wake(self) -> None:
        loop, news = self._loop, self._news
        if loop is not None and news is not None and not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    def _run(self) -> None:
        asyncio.run(self._deliver())

    async def _deliver(self) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_default_executor(ThreadPoolExecutor(_NUM_THREADS, "webhooks"))
        tasks: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            self._news.clear()
            for delivery in await self._find():
                self._under_way[delivery.seq] = delivery.webhook
                task = asyncio.create_task(self._try(delivery))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await self._give_up()
            try:
                await asyncio.wait_for(self._news.wait(), self._poll_s)
            except TimeoutError:
                continue
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self) -> list[Delivery]:
        """Return what to send now, beside what is under way."""
        if not self._is_leader() or len(self._under_way) >= MAX_AT_ONCE:
            return []
        # What ends while the store is read may be among what is read.
        before = set(self._under_way)
        try:
            due = await asyncio.to_thread(self._read_due)
        except SQLAlchemyError as error:
            logger.warning("what webhooks are to be told cannot be read: %s", error)
            return []
        except Exception:
            # A loop that died would have webhooks never told again, and nobody know.
            logger.exception("what webhooks are to be told cannot be read; it is tried again")
            return []
        of_webhooks = Counter(one.id for one in self._under_way.values())
        of_owners = Counter(one.owner for one in self._under_way.values())
        found = []
        for delivery in due:
            webhook = delivery.webhook
            if (
                delivery.seq in before
                or of_webhooks[webhook.id] >= MAX_OF_EACH
                or of_owners[webhook.owner] >= MAX_OF_OWNER
            ):
                continue
            of_webhooks[webhook.id] += 1
            of_owners[webhook.owner] += 1
            found.append(delivery)
        return found[: MAX_AT_ONCE - len(self._under_way)]

    def _read_due(self) -> list[Delivery]:
        # What is under way is among them, and more must be found beside it.
        at_most = MAX_AT_ONCE + len(self._under_way)
        return self._store.read(
            lambda connection: due_deliveries(
                connection,
                self._clock(),
                at_most=at_most,
                of_each=MAX_OF_EACH,
                of_owner=MAX_OF_OWNER,
            )
        )

    async def _give_up(self) -> None:
        """Now and then, take out what is too old: also of those whose turn never came."""
        is_more = False
        if self._is_leader():
            # Not at once, so that what waited for a leader is tried.
            if time.monotonic() < self._give_up_at:
                return
            try:
                is_more = await asyncio.to_thread(self._give_up_piece)
            except (LostLeadershipError, SQLAlchemyError) as error:
                logger.warning("what is too old to tell webhooks waits for the store: %s", error)
            except Exception:
                logger.exception("what is too old to tell webhooks cannot be given up")
        # Between two pieces others are sent and written.
        if not is_more:
            self._give_up_at = time.monotonic() + self._give_up_every_s

    def _give_up_piece(self) -> bool:
        before = self._clock() - GIVE_UP_AFTER
        webhook_id, num = self._store.write(
            lambda connection: give_up_old(connection, before, at_most=_PIECE)
        )
        if num:
            count_deliveries("given_up", num)
            logger.warning("webhook %s: given up as too old: %d", webhook_id, num)
        return num > 0

    async def _try(self, delivery: Delivery) -> None:
        try:
            tried = await self._tried(delivery)
            await self._note(delivery, tried)
        except LostLeadershipError:
            # Whoever leads now sends it.
            return
        except ResolverBusyError:
            logger.debug("webhook %s: %s waits for other look-ups", *_names(delivery))
        except _PASSING as error:
            logger.warning("webhook %s: %s waits for the store: %s", *_names(delivery), error)
        except Exception:
            logger.exception(
                "webhook %s: what came of %s cannot be written down", *_names(delivery)
            )
            # Its place is kept, since without the mark it is sent again.
            await asyncio.sleep(_STUCK_S)
        else:
            # What waited for it may be due.
            assert self._news is not None
            self._news.set()
        finally:
            del self._under_way[delivery.seq]

    async def _tried(self, delivery: Delivery) -> Try:
        now = self._clock()
        try:
            # This process may have slept since it looked.
            why_not = await asyncio.to_thread(self._check, delivery)
            if why_not is None:
                return await send(_letter(delivery), self._allowed, now)
        except (LostLeadershipError, ResolverBusyError, *_PASSING):
            raise
        except Exception:
            # Tried ever more seldom, and given up: whatever it is may last.
            logger.exception("webhook %s: %s could not be sent", *_names(delivery))
            why_not = "it could not be sent; the log of the service says why"
        return Try(
            at=now,
            message_id=delivery.message_id,
            event=delivery.event,
            delivered=False,
            detail=why_not,
        )

    def _check(self, delivery: Delivery) -> str | None:
        self._store.check_fence()
        return self._store.read(
            lambda connection: why_not_told(connection, delivery.webhook, wall_utc())
        )

    async def _note(self, delivery: Delivery, tried: Try) -> None:
        """Write down what came of a try; while the store is away nothing is sent twice for it."""
        while True:
            try:
                await asyncio.to_thread(self._write, delivery, tried)
            except _PASSING as error:
                logger.warning("webhook %s: %s waits for the store: %s", *_names(delivery), error)
                await asyncio.sleep(self._poll_s)
            else:
                return

    def _write(self, delivery: Delivery, tried: Try) -> None:
        num_tries, now = delivery.num_tries + 1, self._clock()
        due_at = next_try(delivery.created_at, num_tries, now, random.random())
        # What was given up meanwhile as too old was counted then.
        if tried.delivered or due_at is None:
            if self._store.write(lambda connection: take(connection, delivery, tried)):
                count_deliveries("delivered" if tried.delivered else "given_up")
        elif self._store.write(lambda connection: put_off(connection, delivery, tried, due_at)):
            count_deliveries("failed")
        if not tried.delivered:
            then = "it is given up" if due_at is None else f"it is tried again at {due_at:%H:%M:%S}"
            # Of many tries the first is told, and the end.
            level = logging.WARNING if due_at is None or num_tries == 1 else logging.DEBUG
            logger.log(level, "webhook %s: %s: %s; %s", *_names(delivery), tried.detail, then)


def _letter(delivery: Delivery) -> Letter:
    return Letter(
        webhook=delivery.webhook,
        message_id=delivery.message_id,
        event=delivery.event,
        body=delivery.body.encode(),
    )


def _names(delivery: Delivery) -> tuple[str, str]:
    return delivery.webhook.id, f"{delivery.event} of job {delivery.job_id}"
