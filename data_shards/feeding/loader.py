"""What a loader process does: fill places of a shared batch with crops."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_shards.arrays import Bools, Int64s, Pixels
from data_shards.feeding.checked_shards import CheckedShards
from data_shards.feeding.corrupt import CorruptImageError, CorruptReason, CorruptSample
from data_shards.feeding.decode import Decoder
from data_shards.feeding.feed_cost import NO_COST, FeedCost
from data_shards.feeding.keys import KEY_BYTES, key_of
from data_shards.feeding.shard_files import ShardFacts, ShardFiles
from data_shards.processes.shared_memory import map_shared
from data_shards.processes.worker import Handler
from data_shards.shards.index import OFFSET, SHARD, SIZE, map_index_file
from data_shards.storage.set_files import Fetched, SetFiles


@dataclass(frozen=True)
class BatchTask:
    """Fill one slot. All arrays have the batch's length n."""

    step: int
    slot: int
    samples: Int64s
    real: Bools
    offsets: Int64s
    mirrored: Bools


@dataclass(frozen=True)
class BatchDone:
    """The slot is filled; `corrupt` gives the places that hold no image, and why."""

    step: int
    corrupt: dict[int, CorruptSample]
    keys: tuple[str, ...] | None
    """(n,) SHARD:KEY of each place, empty where there is no sample; None unless asked for."""
    cost: FeedCost = NO_COST


@dataclass(frozen=True)
class LoaderSetup:
    """What a loader must know before its first task; `open` is what its process runs."""

    files: SetFiles
    shards: tuple[ShardFacts, ...]
    index: ShardFacts
    remembered: CheckedShards
    max_open_shards: int
    encoding: Literal["jpeg", "raw"]
    image_size: int
    squared: bool
    names_samples: bool
    """Whether to read the samples' keys too."""
    slots_shape: tuple[int, int, int, int, int]
    """(num_slots, n, c, c, 3)"""
    memory_fd: int
    """Of `memory_bytes`."""

    def open(self) -> Handler:
        """Return the handler of a new loader's tasks."""
        return Loader(self).fill


def memory_bytes(slots_shape: tuple[int, int, int, int, int], num_shards: int) -> int:
    """Return what a reader shares with its loaders: all slots, a byte a shard and slot, one more.

    A slot's is 1 as long as it is filled and not taken; the last changes whenever some of a shard
    has arrived.
    """
    return int(np.prod(slots_shape)) + num_shards + slots_shape[0] + 1


def view_arrivals(memory: mmap) -> npt.NDArray[np.uint8]:
    """View the last byte of shared memory, (1,)."""
    return np.frombuffer(memory, dtype=np.uint8, offset=len(memory) - 1)


def view_filled(memory: mmap, num_slots: int) -> npt.NDArray[np.uint8]:
    """View which slots are filled and not taken, (num_slots,)."""
    return np.frombuffer(
        memory, dtype=np.uint8, offset=len(memory) - 1 - num_slots, count=num_slots
    )


def view_slots(memory: mmap, shape: tuple[int, int, int, int, int]) -> Pixels:
    """View the beginning of shared memory as batches."""
    return np.frombuffer(memory, dtype=np.uint8, count=int(np.prod(shape))).reshape(shape)


class Loader:
    """Reads, decodes, crops and reflects."""

    def __init__(self, setup: LoaderSetup) -> None:
        size = memory_bytes(setup.slots_shape, len(setup.shards))
        memory = map_shared(setup.memory_fd, size)
        self._slots = view_slots(memory, setup.slots_shape)
        self._filled = view_filled(memory, setup.slots_shape[0])
        self._arrivals = view_arrivals(memory)
        checked = np.frombuffer(
            memory, dtype=np.uint8, offset=self._slots.nbytes, count=len(setup.shards)
        )
        self._set_files = files = setup.files.telling(self._note_arrival)
        self._shards = setup.shards
        self._files = ShardFiles(
            files,
            setup.shards,
            checked,
            remembered=setup.remembered,
            max_open=setup.max_open_shards,
        )
        with files.open(setup.index) as file:
            self._index = map_index_file(file)
        self._decoder = Decoder(setup.encoding, setup.image_size, squared=setup.squared)
        self._names_samples = setup.names_samples

    def fill(self, task: BatchTask) -> Iterator[BatchDone]:
        """Fill the task's slot, uint8 (n, c, c, 3).

        A place without a sample, or with a corrupt one, becomes zeros. Raises ShardError.
        """
        began, before = time.perf_counter(), self._set_files.fetched
        images = self._slots[task.slot]
        images[~task.real] = 0
        rows = self._index[task.samples].tolist()
        asked = time.perf_counter()
        stored, failed = self._read(np.flatnonzero(task.real).tolist(), rows)
        has_read = time.perf_counter()
        failed |= self._decoder.decode_crops(stored, task.offsets, task.mirrored, images)
        decoded = time.perf_counter()
        # What a decoder left behind of an image that it gave up is not shown.
        images[list(failed)] = 0
        corrupt = {
            place: self._corrupt(int(task.samples[place]), rows[place], error)
            for place, error in sorted(failed.items())
        }
        keys = self._keys(task, rows)
        cost = self._cost(stored.values(), before).plus(
            FeedCost(
                read_s=has_read - asked,
                decode_s=decoded - has_read,
                collate_s=asked - began + time.perf_counter() - decoded,
            )
        )
        self._filled[task.slot] = 1
        yield BatchDone(step=task.step, corrupt=corrupt, keys=keys, cost=cost)

    def _cost(self, stored: Iterable[memoryview], before: Fetched | None) -> FeedCost:
        """Return what reading came to, less its time, of which fetching is taken off."""
        num_bytes = sum(map(len, stored))
        fetched = self._set_files.fetched
        if fetched is None or before is None:
            return FeedCost(local_bytes=num_bytes)
        new = fetched.since(before)
        return FeedCost(
            fetch_s=new.seconds,
            read_s=-new.seconds,
            cache_bytes=num_bytes,
            remote_bytes=new.bytes,
            cache_hits=new.hits,
            cache_misses=new.misses,
        )

    def _note_arrival(self) -> None:
        # Two loaders that add at once may add one: it has changed all the same.
        self._arrivals += np.uint8(1)

    def _read(
        self, places: list[int], rows: list[list[int]]
    ) -> tuple[dict[int, memoryview], dict[int, CorruptImageError]]:
        """Return the stored images by place, and why some are not even read. Raises ShardError."""
        largest = self._decoder.max_bytes
        failed = {
            place: CorruptImageError(
                CorruptReason.TOO_MANY_BYTES,
                f"has {rows[place][SIZE]:,} bytes; no image here may have more than {largest:,}",
            )
            for place in places
            if rows[place][SIZE] > largest
        }
        pieces = {
            place: (rows[place][SHARD], rows[place][OFFSET], rows[place][SIZE])
            for place in places
            if place not in failed
        }
        self._files.expect(pieces.values())
        return {place: self._files.read(*piece) for place, piece in pieces.items()}, failed

    def _corrupt(self, sample: int, row: list[int], error: CorruptImageError) -> CorruptSample:
        return CorruptSample(
            sample=sample,
            shard=self._shards[row[SHARD]].name,
            key=self._key(sample, row),
            reason=error.reason,
            detail=error.detail,
        )

    def _keys(self, task: BatchTask, rows: list[list[int]]) -> tuple[str, ...] | None:
        if not self._names_samples:
            return None
        return tuple(
            f"{self._shards[row[SHARD]].name}:{self._key(sample, row)}" if real else ""
            for sample, row, real in zip(
                task.samples.tolist(), rows, task.real.tolist(), strict=True
            )
        )

    def _key(self, sample: int, row: list[int]) -> str:
        """Return a sample's key; its number where the index points at no tar's member."""
        size = min(KEY_BYTES, row[OFFSET])
        before = self._files.read(row[SHARD], row[OFFSET] - size, size)
        return key_of(bytes(before)) or f"#{sample}"
