"""What a loader process does: fill places of a shared batch with crops."""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from data_shards.arrays import Bools, Int64s, Pixels
from data_shards.feeding.decode import CorruptImageError, Decoder
from data_shards.feeding.shard_files import ShardFacts, ShardFiles
from data_shards.processes.shared_memory import map_shared
from data_shards.processes.worker import Handler
from data_shards.shards.index import OFFSET, SHARD, SIZE, map_index


class CorruptSample(NamedTuple):
    """A sample that could not be read, and so weighs zero."""

    shard: str
    key: str
    reason: str


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


@dataclass(frozen=True)
class LoaderSetup:
    """What a loader must know before its first task; `open` is what its process runs."""

    folder: Path
    shards: tuple[ShardFacts, ...]
    index_name: str
    encoding: Literal["jpeg", "raw"]
    image_size: int
    slots_shape: tuple[int, int, int, int, int]
    """(num_slots, n, c, c, 3)"""
    memory_fd: int

    @property
    def memory_bytes(self) -> int:
        """All slots, then one byte a shard."""
        return int(np.prod(self.slots_shape)) + len(self.shards)

    def open(self) -> Handler:
        """Return the handler of a new loader's tasks."""
        return Loader(self).fill


def view_slots(memory: mmap, shape: tuple[int, int, int, int, int]) -> Pixels:
    """View the beginning of shared memory as batches."""
    return np.frombuffer(memory, dtype=np.uint8, count=int(np.prod(shape))).reshape(shape)


class Loader:
    """Reads, decodes, crops and reflects."""

    def __init__(self, setup: LoaderSetup) -> None:
        memory = map_shared(setup.memory_fd, setup.memory_bytes)
        self._slots = view_slots(memory, setup.slots_shape)
        checked = np.frombuffer(memory, dtype=np.uint8, offset=self._slots.nbytes)
        self._shards = setup.shards
        self._files = ShardFiles(setup.folder, setup.shards, checked)
        self._index = map_index(setup.folder / setup.index_name)
        self._decoder = Decoder(setup.encoding, setup.image_size)

    def fill(self, task: BatchTask) -> Iterator[BatchDone]:
        """Fill the task's slot, uint8 (n, c, c, 3).

        A place without a sample, or with a corrupt one, becomes zeros. Raises ShardError.
        """
        images = self._slots[task.slot]
        corrupt: dict[int, CorruptSample] = {}
        where = self._index[task.samples].tolist()
        for place, (row, column) in enumerate(task.offsets.tolist()):
            if not task.real[place]:
                images[place] = 0
                continue
            shard, offset = where[place][SHARD], where[place][OFFSET]
            try:
                data = self._files.read(shard, offset, where[place][SIZE])
                mirror = bool(task.mirrored[place])
                self._decoder.decode_crop(data, images[place], row, column, mirror=mirror)
            except CorruptImageError as error:
                images[place] = 0
                key = self._files.key(shard, offset)
                corrupt[place] = CorruptSample(self._shards[shard].name, key, str(error))
        yield BatchDone(step=task.step, corrupt=corrupt)
