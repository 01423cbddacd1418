"""Pieces of mapped shards, each shard checked against the manifest before its first use."""

import resource
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, MADV_WILLNEED, PAGESIZE, mmap

import numpy as np
import numpy.typing as npt

from data_shards.errors import ShardError
from data_shards.feeding.checked_shards import CheckedShards
from data_shards.storage.set_files import SetFiles, open_right

# Streams times window is what is read at a time; below the common limit of 1,024 descriptors.
MAX_OPEN = 256


@dataclass(frozen=True)
class ShardFacts:
    """What the manifest says of one shard."""

    name: str
    size_bytes: int
    sha256: str


class ShardFiles:
    """Mapped shards by number, least recently used ones given up.

    Nothing is copied, and the loaders of a node share the pages. In return a file cut short while
    a piece of it is in use is no error that could be caught here: it ends the process by SIGBUS,
    and the reader says which shard it was.
    """

    def __init__(
        self,
        files: SetFiles,
        shards: Sequence[ShardFacts],
        checked: npt.NDArray[np.uint8],
        *,
        remembered: CheckedShards | None = None,
        max_open: int = MAX_OPEN,
    ) -> None:
        """Take `checked`, (num_shards,), which marks shards whose digest was right.

        It is shared by the loaders of a reader, so that each shard is digested once; and not even
        once where an earlier reader is `remembered` to have done so.
        """
        self._files = files
        self._max_open = max_open
        self._shards = shards
        self._checked = checked
        self._remembered = remembered or CheckedShards()
        self._open: OrderedDict[int, mmap] = OrderedDict()
        self._blocks_read = 0

    def read(self, shard: int, offset: int, size: int) -> memoryview:
        """Return `size` bytes at `offset`, read-only; valid as long as it is held.

        Raises ShardError, StorageError.
        """
        whole = self._opened(shard)
        # Its size now: pages of which the file has lost the end read as zeros, or end the process.
        if offset < 0 or offset + size > min(len(whole), whole.size()):
            raise ShardError(self._name(shard), f"ends before byte {offset + size}")
        return memoryview(whole)[offset : offset + size]

    def expect(self, pieces: Iterable[tuple[int, int, int]]) -> None:
        """Hear which pieces, (shard, offset, size), are read next: the disk is asked for them all.

        A disk that is asked for all at once gives twice what it gives read by read, and eight times
        what page faults make of small images (measured, cold). In memory already, the hints would
        cost a tenth of reading raw images: they are given while this process waits for the disk.

        Raises ShardError, StorageError.
        """
        blocks_read, before = _blocks_read(), self._blocks_read
        self._blocks_read = blocks_read
        if blocks_read == before:
            return
        for shard, offset, size in pieces:
            whole = self._opened(shard)
            begin = offset - offset % PAGESIZE
            if 0 <= begin < len(whole):
                whole.madvise(MADV_WILLNEED, begin, offset + size - begin)

    def close(self) -> None:
        """Give up every map; each goes when nobody holds a piece of it any more."""
        self._open.clear()

    def _opened(self, shard: int) -> mmap:
        whole = self._open.get(shard)
        if whole is not None:
            self._open.move_to_end(shard)
            return whole
        if len(self._open) == self._max_open:
            self._open.popitem(last=False)
        digested = bool(self._checked[shard])
        with open_right(
            self._files,
            self._shards[shard],
            digested=digested,
            has_digest=self._remembered.has_digest,
        ) as file:
            self._checked[shard] = 1
            whole = mmap(file.fileno(), 0, access=ACCESS_READ)
        self._open[shard] = whole
        return whole

    def _name(self, shard: int) -> str:
        return self._files.at(self._shards[shard].name)


def _blocks_read() -> int:
    """Return how much of a disk this process has had read."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock


def cut_short(files: SetFiles, shards: Iterable[ShardFacts]) -> ShardError | None:
    """Return what to say of the first shard that lost its end while it was mapped, if one did."""
    for facts in shards:
        size = files.size(facts)
        if size is not None and size < facts.size_bytes:
            problem = f"was cut short to {size} bytes of {facts.size_bytes} while it was read"
            return ShardError(files.at(facts.name), problem)
    return None
