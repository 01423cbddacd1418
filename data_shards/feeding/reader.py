"""The reader: batches of crops, in the order a step number decides, from worker processes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from signal import SIGBUS

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Bools, Int64s, Pixels
from data_shards.closing import Closing
from data_shards.errors import EndedError, WorkerDiedError
from data_shards.feeding import draws
from data_shards.feeding.checked_shards import CheckedShards, users_checked_shards
from data_shards.feeding.corrupt import CorruptSample
from data_shards.feeding.crops import crops
from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.feed_cost import NO_COST, FeedCost
from data_shards.feeding.loader import (
    BatchDone,
    BatchTask,
    LoaderSetup,
    memory_bytes,
    view_arrivals,
    view_filled,
    view_slots,
)
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.prefetch import Prefetch
from data_shards.feeding.shard_files import MAX_OPEN, ShardFacts, cut_short
from data_shards.feeding.shard_uses import CacheNeed, cache_need, check_cache, shards_at_once
from data_shards.manifest import ShardEntry, SidecarEntry
from data_shards.order import (
    EpochOrder,
    steps_per_epoch,
)
from data_shards.processes.shared_memory import SharedMemory
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.index import LABEL
from data_shards.shards.sidecars import load_index
from data_shards.storage.manifests import read_manifest
from data_shards.storage.retries import DEFAULT_POLICY
from data_shards.storage.set_files import CachedFiles, files_at
from data_shards.storage.shard_cache import CHUNK_BYTES

# Batches each loader may be ahead: one being filled, one waiting for its turn.
_TASKS_PER_PROCESS = 2
# Assumed: a local shard whose digest takes longer is on a disk that hangs.
_LONGEST_READ_S = 3600.0


@dataclass(frozen=True)
class Batch:
    """One replica's share of a global batch; n places, contiguous in the global batch."""

    step: int
    """Global: goes on counting over epochs."""
    epoch: int
    images: Pixels
    """uint8 (n, c, c, 3), RGB, cropped and reflected; zeros where not real."""
    labels: Int64s
    """(n,); 0 where there is no sample."""
    real: Bools
    """(n,); False where the epoch has run out or the sample is corrupt: weight zero."""
    samples: Int64s
    """(n,) global sample indices; 0 where there is no sample."""
    offsets: Int64s
    """(n, 2) row and column of each crop in the stored image."""
    mirrored: Bools
    """(n,)"""
    colour: npt.NDArray[np.float32]
    """(n, 3) standard normals for the PCA colour; to be used in training only."""
    corrupt: tuple[CorruptSample, ...]
    """Samples of this batch that could not be read."""
    keys: tuple[str, ...] | None = None
    """(n,) SHARD:KEY of each place, empty where there is no sample; None unless the plan asks."""
    cost: FeedCost = NO_COST
    """Of feeding it, and of what was fetched since the batch before it."""
    num_ready: int = 0
    """How many batches stood ready behind it when it was taken."""


class Reader(Closing):
    """Yields batches; a context manager, since it owns processes and shared memory.

    Raises ManifestError, PlanError or ShardError when opened on what does not fit.
    """

    def __init__(self, plan: ReaderPlan, *, num_processes: int) -> None:
        self.plan = plan
        self.manifest = read_manifest(plan.location)
        plan.check(self.manifest)
        self._files = files_at(plan.location)
        cached = self._files if isinstance(self._files, CachedFiles) else None
        if cached is not None:
            check_cache([cache_need(plan, self.manifest)], cached.cache.max_bytes)
        self._labels = np.ascontiguousarray(load_index(plan.location, self.manifest)[:, LABEL])
        self._order: tuple[int, EpochOrder] | None = None
        self._iteration = 0
        self._augment_s = 0.0
        """Spent on tasks since the last batch."""
        self._is_closed = False

        n, c = plan.replica_batch_size, plan.crop_size
        # One slot more than can be in work: the batch in the caller's hands.
        slots_shape = (_TASKS_PER_PROCESS * num_processes + 1, n, c, c, 3)
        self._shard_sizes = tuple(shard.num_samples for shard in self.manifest.shards)
        shards = tuple(_facts(shard) for shard in self.manifest.shards)
        self._mapped = (*shards, _facts(self.manifest.index))
        self._tasks_out = [0] * num_processes
        self._memory = SharedMemory(memory_bytes(slots_shape, len(shards)))
        self._slots = view_slots(self._memory.buffer, slots_shape)
        self._filled = view_filled(self._memory.buffer, slots_shape[0])
        self._arrivals = view_arrivals(self._memory.buffer)
        setup = LoaderSetup(
            files=self._files,
            shards=shards,
            index=_facts(self.manifest.index),
            # Of a node's copies each use is a change: it is when they were used last.
            remembered=CheckedShards() if cached else users_checked_shards(),
            # A copy that made room for others takes up disk space for as long as it is open.
            max_open_shards=min(MAX_OPEN, shards_at_once(plan)) if cached else MAX_OPEN,
            encoding=self.manifest.encoding,
            image_size=self.manifest.image_size,
            squared=self.manifest.squared,
            names_samples=plan.names_samples,
            slots_shape=slots_shape,
            memory_fd=self._memory.fd,
        )
        with ExitStack() as opened:
            opened.callback(self._memory.close)
            self._pool = opened.enter_context(
                WorkerPool(setup.open, num_processes=num_processes, inherited_fds=[self._memory.fd])
            )
            self._prefetch = Prefetch(plan, cached, shards, self._shard_sizes) if cached else None
            if self._prefetch is not None:
                opened.enter_context(self._prefetch)
            self._opened = opened.pop_all()

    @property
    def steps_per_epoch(self) -> int:
        """⌈N / global batch⌉."""
        return steps_per_epoch(self.manifest.num_samples, self.plan.global_batch_size)

    @property
    def cache_need(self) -> CacheNeed | None:
        """What a node's shard cache must hold for this set; None where it is not used."""
        return cache_need(self.plan, self.manifest) if self._prefetch is not None else None

    @property
    def arrivals(self) -> int:
        """Another number whenever some of a shard that a loader waits for has arrived."""
        return int(self._arrivals[0])

    @property
    def num_ready(self) -> int:
        """How many batches stand ready that nobody has asked for yet."""
        return int(np.count_nonzero(self._filled))

    @property
    def patience_s(self) -> float:
        """For how long loaders bear it that nothing of a shard arrives, or that a disk reads it."""
        largest = max(shard.size_bytes for shard in self.manifest.shards)
        # A copy arrives by the chunk; of a disk that reads one for so long, no more is hoped.
        if self._prefetch is not None:
            return DEFAULT_POLICY.borne_s(min(largest, CHUNK_BYTES))
        return min(DEFAULT_POLICY.borne_s(largest), _LONGEST_READ_S)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the loaders."""
        return self._pool.pids

    def close(self) -> None:
        """End the loaders and all iterations; quick, and harmless when repeated."""
        self._is_closed = True
        self._opened.close()

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps [start, stop), counted over all epochs.

        Any start is as quick as any other. A batch's images are valid until the next one is
        asked for. One iteration at a time: this one ends the one before, whose next batch raises
        EndedError, as everything does of a reader that was closed.

        Raises ShardError by the shard's name, WorkerDiedError, WorkerFailedError.
        """
        self._iteration += 1
        self._check_newest(self._iteration)
        return self._iterate(self._iteration, start, stop)

    def _iterate(self, iteration: int, start: int, stop: int) -> Iterator[Batch]:
        self._check_newest(iteration)
        # An iteration given up half-way leaves tasks that still write to slots.
        while any(self._tasks_out):
            self._receive()
        self._filled[:] = 0
        free = list(range(len(self._slots)))
        tasks: dict[int, BatchTask] = {}
        done: dict[int, BatchDone] = {}
        following = start
        try:
            for step in range(start, stop):
                if self._prefetch is not None:
                    self._prefetch.advance(step, stop)
                while True:
                    while following < stop and free and min(self._tasks_out) < _TASKS_PER_PROCESS:
                        tasks[following] = self._task(following, free.pop())
                        self._send(tasks[following])
                        following += 1
                    if step in done:
                        break
                    answer = self._receive()
                    done[answer.step] = answer
                task = tasks.pop(step)
                yield self._batch(task, done.pop(step))
                self._check_newest(iteration)
                free.append(task.slot)
        finally:
            # A reader that stands idle takes no room from others.
            if self._prefetch is not None and iteration == self._iteration and not self._is_closed:
                self._prefetch.rest()

    def _check_newest(self, iteration: int) -> None:
        """Raise EndedError in place of batches whose slots others write to, or nobody."""
        if self._is_closed:
            raise EndedError("the reader was closed: open another")
        if iteration != self._iteration:
            raise EndedError("batches of this reader were asked for anew, which ended these")

    def _send(self, task: BatchTask) -> None:
        worker = min(range(len(self._tasks_out)), key=self._tasks_out.__getitem__)
        with self._naming_what_was_cut_short():
            self._pool.send(worker, task)
        self._tasks_out[worker] += 1

    def _receive(self) -> BatchDone:
        with self._naming_what_was_cut_short():
            worker, answer = self._pool.receive()
        assert isinstance(answer, BatchDone)
        self._tasks_out[worker] -= 1
        return answer

    @contextmanager
    def _naming_what_was_cut_short(self) -> Iterator[None]:
        """Say which file it was where a loader's map went on beyond the end of one."""
        try:
            yield
        except WorkerDiedError as error:
            cut = cut_short(self._files, self._mapped) if error.exit_code == -SIGBUS else None
            if cut is None:
                raise
            raise cut from error

    def _task(self, step: int, slot: int) -> BatchTask:
        plan = self.plan
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        samples, real = self._order_of(epoch).batch(step_of_epoch, plan.global_batch_size)
        samples, real = samples[plan.share], real[plan.share]
        began = time.perf_counter()
        offsets, mirrored = crops(
            plan,
            samples,
            epoch=epoch,
            step=step_of_epoch,
            margin=self.manifest.image_size - plan.crop_size,
        )
        self._augment_s += time.perf_counter() - began
        return BatchTask(
            step=step, slot=slot, samples=samples, real=real, offsets=offsets, mirrored=mirrored
        )

    def _batch(self, task: BatchTask, done: BatchDone) -> Batch:
        began = time.perf_counter()
        self._filled[task.slot] = 0
        epoch = task.step // self.steps_per_epoch
        real = task.real.copy()
        real[list(done.corrupt)] = False
        labels = np.where(task.real, self._labels[task.samples], 0)
        collated = time.perf_counter()
        colour = draws.colour_normals(task.samples, seed=self.plan.seed, epoch=epoch)
        drawn = time.perf_counter()
        augment_s, self._augment_s = self._augment_s + drawn - collated, 0.0
        cost = done.cost.plus(FeedCost(collate_s=collated - began, augment_s=augment_s))
        if self._prefetch is not None:
            cost = cost.plus(self._prefetch.take_cost())
        return Batch(
            step=task.step,
            epoch=epoch,
            images=self._slots[task.slot],
            labels=labels,
            real=real,
            samples=task.samples,
            offsets=task.offsets,
            mirrored=task.mirrored,
            colour=colour,
            corrupt=tuple(done.corrupt.values()),
            keys=done.keys,
            cost=cost,
            num_ready=self.num_ready,
        )

    def _order_of(self, epoch: int) -> EpochOrder:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, order_of_epoch(self.plan, self._shard_sizes, epoch)
        return self._order[1]


def _facts(entry: ShardEntry | SidecarEntry) -> ShardFacts:
    return ShardFacts(entry.name, entry.size_bytes, entry.sha256)
