"""Fetching remote shards ahead of the loaders, in a process of its own.

The reader says by shared memory how far it is, and reads there what was fetched, and nothing else:
it never waits for this process, and loaders fetch by themselves what is not there in time.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

import numpy as np

from data_shards.arrays import Int64s
from data_shards.closing import Closing
from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.feed_cost import FeedCost
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.shard_files import ShardFacts
from data_shards.feeding.shard_uses import (
    FIRST_STEP,
    LAST_STEP,
    cut_shards,
    held_shards,
    shard_uses,
    shards_at_once,
    wanted_shards,
)
from data_shards.order import steps_per_epoch
from data_shards.processes.shared_memory import SharedMemory, map_shared
from data_shards.processes.worker import Handler
from data_shards.processes.worker_pool import WorkerPool
from data_shards.storage.set_files import CachedFiles, Fetched

# Nobody sets logging up in a worker, so that warnings go to stderr as they are: to its parent's.
_log = logging.getLogger(__name__)

# Assumed: what fills a link where one request does not.
_FETCHES_AT_ONCE = 4
_LOOK_EVERY_S = 0.02
# How often what is wanted is looked for, and marked as used, while the reader stands still; and
# how long what could not be fetched is left to the loaders, who say what is wrong with it.
_REPEAT_S = 5.0
# Two int64: the step, and where its iteration stops; as memory begins, nothing is wanted. Then what
# was fetched: nanoseconds, bytes, hits and misses.
_SHARED_BYTES = 48


class Prefetch(Closing):
    """A process that fetches what a reader needs next; ends with it, whichever way that ends."""

    def __init__(
        self,
        plan: ReaderPlan,
        files: CachedFiles,
        shards: tuple[ShardFacts, ...],
        shard_sizes: tuple[int, ...],
    ) -> None:
        """Start it; `shard_sizes` are sample counts. It waits for a position."""
        self._memory = SharedMemory(_SHARED_BYTES)
        self._position = _view_position(self._memory.buffer)
        self._fetched = _view_fetched(self._memory.buffer)
        self._told = Fetched()
        setup = _Setup(plan, files, shards, shard_sizes, self._memory.fd, os.getpid())
        try:
            self._pool = WorkerPool(setup.open, num_processes=1, inherited_fds=[self._memory.fd])
            self._pool.send(0, "begin")
        except BaseException:
            self._memory.close()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._pool.pids[0]

    @property
    def position(self) -> tuple[int, int]:
        """What it was told last: a step and where that ends; nothing is wanted if they are one."""
        return int(self._position[0]), int(self._position[1])

    def advance(self, step: int, stop: int) -> None:
        """Say which step's batch is used next, counted over all epochs, and where that ends."""
        self._position[:] = step, stop

    def rest(self) -> None:
        """Say that nothing is wanted until the next `advance`."""
        self._position[:] = 0

    def take_cost(self) -> FeedCost:
        """Return what was fetched since this was last asked."""
        nanoseconds, *counts = self._fetched.tolist()
        fetched = Fetched(nanoseconds / 1e9, *counts)
        new, self._told = fetched.since(self._told), fetched
        return FeedCost(
            fetch_s=new.seconds,
            remote_bytes=new.bytes,
            cache_hits=new.hits,
            cache_misses=new.misses,
        )

    def close(self) -> None:
        """End the process, whatever it is fetching."""
        self._pool.close()
        self._memory.close()


@dataclass(frozen=True)
class _Setup:
    plan: ReaderPlan
    files: CachedFiles
    shards: tuple[ShardFacts, ...]
    shard_sizes: tuple[int, ...]
    memory_fd: int
    reader_pid: int

    def open(self) -> Handler:
        return _Fetcher(self).run


class _Fetcher:
    """Looks where the reader is, and keeps a few threads fetching."""

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        memory = map_shared(setup.memory_fd, _SHARED_BYTES)
        self._position = _view_position(memory)
        self._told = _view_fetched(memory)
        self._before = setup.files.cache.done_here
        sizes = np.asarray(setup.shard_sizes)
        self._shard_of_sample: Int64s = np.repeat(np.arange(len(sizes)), sizes)
        self._steps = steps_per_epoch(int(sizes.sum()), setup.plan.global_batch_size)
        self._uses: dict[int, tuple[Int64s, Int64s]] = {}
        self._was_in_use: set[int] = set()
        self._to_fetch: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._fetched: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()

    def run(self, _: object) -> Iterator[object]:
        """Fetch until the reader's process is gone; there is no answer."""
        # Daemons, so that a fetch in work keeps nothing alive.
        for _ in range(_FETCHES_AT_ONCE):
            threading.Thread(target=self._fetch, daemon=True).start()
        busy: set[int] = set()
        failed: dict[int, float] = {}
        looked = -np.inf
        position = (0, 0)
        while os.getppid() == self._setup.reader_pid:
            news = False
            while not self._fetched.empty():
                shard, was_fetched = self._fetched.get()
                busy.remove(shard)
                news = True
                if not was_fetched:
                    failed[shard] = time.monotonic()
            if news:
                self._tell_fetched()
            now, before = time.monotonic(), position
            position = int(self._position[0]), int(self._position[1])
            if news or position != before or now > looked + _REPEAT_S:
                looked = now
                for shard in self._absent(*position):
                    waits = now < failed.get(shard, -np.inf) + _REPEAT_S
                    if shard not in busy and not waits and len(busy) < _FETCHES_AT_ONCE:
                        busy.add(shard)
                        self._to_fetch.put(shard)
            time.sleep(_LOOK_EVERY_S)
        yield from ()

    def _absent(self, step: int, stop: int) -> list[int]:
        """Mark what is wanted from a step on as used; return what is not there, in order.

        What is wanted no more makes room first: marked at the last step, it would look newer than
        what other replicas' readers, whose step comes later, still need.
        """
        wanted, held = self._wanted(step, stop)
        in_use = {*wanted, *held}
        done, self._was_in_use = self._was_in_use - in_use, in_use
        self._setup.files.cache.release([self._setup.shards[shard] for shard in done])
        self._setup.files.cache.keep([self._setup.shards[shard] for shard in held])
        number = {self._setup.shards[shard].name: shard for shard in wanted}
        # The one needed first is marked last, and so is the last to make room.
        facts = [self._setup.shards[shard] for shard in reversed(wanted)]
        return [number[absent.name] for absent in reversed(self._setup.files.cache.keep(facts))]

    def _wanted(self, step: int, stop: int) -> tuple[list[int], list[int]]:
        """Return what this epoch needs, and the next one's beginning; and what it needs again."""
        if stop <= step:
            return [], []
        epoch, step_of_epoch = divmod(step, self._steps)
        # In this order: an order that is asked for drops all but the one before it.
        uses, cut = self._uses_of(epoch)
        following = self._uses_of(epoch + 1)[0].copy()
        following[:, [FIRST_STEP, LAST_STEP]] += self._steps
        uses = np.concatenate([uses, following])
        uses = uses[uses[:, FIRST_STEP] < stop - epoch * self._steps]
        limit = shards_at_once(self._setup.plan)
        return wanted_shards(uses, step_of_epoch, limit), held_shards(cut, step_of_epoch)

    def _uses_of(self, epoch: int) -> tuple[Int64s, Int64s]:
        """Return this replica's uses of shards, and the shards cut between streams."""
        if epoch not in self._uses:
            plan = self._setup.plan
            order = order_of_epoch(plan, self._setup.shard_sizes, epoch)
            self._uses = {each: self._uses[each] for each in self._uses if each == epoch - 1}
            self._uses[epoch] = (
                shard_uses(order, self._shard_of_sample, plan),
                cut_shards(order, self._shard_of_sample, plan),
            )
        return self._uses[epoch]

    def _tell_fetched(self) -> None:
        done, before = self._setup.files.cache.done_here, self._before
        self._told[:] = (
            done.nanoseconds_fetching - before.nanoseconds_fetching,
            done.bytes_fetched - before.bytes_fetched,
            done.hits - before.hits,
            done.fetches - before.fetches,
        )

    def _fetch(self) -> None:
        while True:
            shard = self._to_fetch.get()
            try:
                self._setup.files.open(self._setup.shards[shard]).close()
            # Whatever it is, this thread goes on: the loaders meet it too, and say so for good.
            except Exception as error:  # noqa: BLE001
                _log.warning("not fetched ahead: %s", error)
                self._fetched.put((shard, False))
            else:
                self._fetched.put((shard, True))


def _view_position(memory: mmap) -> Int64s:
    return np.frombuffer(memory, dtype=np.int64, count=2)


def _view_fetched(memory: mmap) -> Int64s:
    return np.frombuffer(memory, dtype=np.int64, offset=16)
