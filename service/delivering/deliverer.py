"""Tells webhooks what they are to be told, in a thread of its own, while this process leads.

At least once and, of each job, in order: what was sent by a process that then died is sent again by
the next, under the same id. Nothing of it holds up whoever changes jobs.
"""

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from service.delivering.sender import Letter, send
from service.steady_clock import now_utc, wall_utc
from service.store.leases import LostLeadershipError
from service.store.outbox import due_deliveries, put_off, take
from service.store.store import Store
from service.store.webhooks import why_not_told
from service.webhooks.address import Network
from service.webhooks.patience import next_try
from service.webhooks.records import Delivery, Try

logger = logging.getLogger(__name__)

POLL_S = 1.0
MAX_AT_ONCE = 32
# Of one webhook, so that one that hangs keeps a few places alone.
MAX_OF_EACH = 2
# For the store, and for looking addresses up.
_NUM_THREADS = 8


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
    ) -> None:
        self._store = store
        self._is_leader = is_leader
        self._allowed = tuple(allowed)
        self._clock = clock
        self._poll_s = poll_s
        self._under_way: dict[int, str] = {}
        """Webhooks by the numbers of the deliveries that are being sent."""
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
            self._thread.join()

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
                self._under_way[delivery.seq] = delivery.webhook.id
                task = asyncio.create_task(self._try(delivery))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
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
        places = Counter(self._under_way.values())
        found = []
        for delivery in due:
            webhook_id = delivery.webhook.id
            if delivery.seq in before or places[webhook_id] >= MAX_OF_EACH:
                continue
            places[webhook_id] += 1
            found.append(delivery)
        return found[: MAX_AT_ONCE - len(self._under_way)]

    def _read_due(self) -> list[Delivery]:
        # What is under way is among them, and more must be found beside it.
        at_most = MAX_AT_ONCE + len(self._under_way)
        return self._store.read(
            lambda connection: due_deliveries(
                connection, self._clock(), at_most=at_most, of_each=MAX_OF_EACH
            )
        )

    async def _try(self, delivery: Delivery) -> None:
        try:
            tried = await self._send(delivery)
            await self._note(delivery, tried)
        except LostLeadershipError:
            # Whoever leads now sends it.
            return
        except SQLAlchemyError as error:
            logger.warning("webhook %s: %s waits for the store: %s", *_names(delivery), error)
        except Exception:
            logger.exception("webhook %s: %s could not be sent", *_names(delivery))
        else:
            # What waited for it may be due.
            assert self._news is not None
            self._news.set()
        finally:
            del self._under_way[delivery.seq]

    async def _send(self, delivery: Delivery) -> Try:
        now = self._clock()
        # This process may have slept since it looked.
        why_not = await asyncio.to_thread(self._check, delivery)
        if why_not is not None:
            return Try(
                at=now,
                message_id=delivery.message_id,
                event=delivery.event,
                delivered=False,
                detail=why_not,
            )
        letter = Letter(
            webhook=delivery.webhook,
            message_id=delivery.message_id,
            event=delivery.event,
            body=delivery.body.encode(),
        )
        return await send(letter, self._allowed, now)

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
            except SQLAlchemyError as error:
                logger.warning("webhook %s: %s waits for the store: %s", *_names(delivery), error)
                await asyncio.sleep(self._poll_s)
            else:
                return

    def _write(self, delivery: Delivery, tried: Try) -> None:
        num_tries, now = delivery.num_tries + 1, self._clock()
        due_at = next_try(delivery.created_at, num_tries, now, random.random())
        if tried.delivered or due_at is None:
            self._store.write(lambda connection: take(connection, delivery, tried))
        else:
            self._store.write(lambda connection: put_off(connection, delivery, tried, due_at))
        if not tried.delivered:
            then = "it is given up" if due_at is None else f"it is tried again at {due_at:%H:%M:%S}"
            # Of many tries the first is told, and the end.
            level = logging.WARNING if due_at is None or num_tries == 1 else logging.DEBUG
            logger.log(level, "webhook %s: %s: %s; %s", *_names(delivery), tried.detail, then)


def _names(delivery: Delivery) -> tuple[str, str]:
    return delivery.webhook.id, f"{delivery.event} of job {delivery.job_id}"
