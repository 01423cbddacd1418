"""Reading pieces of local shards, each checked against the manifest before its first use."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_shards.errors import ShardError
from data_shards.shards.index import TAR_BLOCK

# Streams times window is what is read at a time; below the common limit of 1,024 descriptors.
_MAX_OPEN = 256


@dataclass(frozen=True)
class ShardFacts:
    """What the manifest says of one shard."""

    name: str
    size_bytes: int
    sha256: str


class ShardFiles:
    """Open shards by number, least recently used ones closed.

    pread rather than a memory map: the copy costs microseconds beside the decoding, and a file
    cut short under us is a short read that can be named, not a SIGBUS.
    """

    def __init__(
        self, folder: Path, shards: Sequence[ShardFacts], checked: npt.NDArray[np.uint8]
    ) -> None:
        """Take `checked`, (num_shards,), which marks shards whose digest was right.

        It is shared by the loaders of a reader, so that each shard is digested once.
        """
        self._folder = folder
        self._shards = shards
        self._checked = checked
        self._open: OrderedDict[int, FileIO] = OrderedDict()
        self._buffer = bytearray(1 << 16)

    def read(self, shard: int, offset: int, size: int) -> memoryview:
        """Return `size` bytes at `offset`; valid until the next call. Raises ShardError."""
        file = self._opened(shard)
        if size > len(self._buffer):
            self._buffer = bytearray(2 * size)
        view = memoryview(self._buffer)[:size]
        done = os.preadv(file.fileno(), [view], offset)
        while 0 < done < size and (more := os.preadv(file.fileno(), [view[done:]], offset + done)):
            done += more
        if done < size:
            raise ShardError(self._name(shard), f"ends before byte {offset + size}")
        return view

    def key(self, shard: int, offset: int) -> str:
        """Return the key of the sample whose data begin at `offset`, from the tar's header."""
        header = bytes(self.read(shard, offset - TAR_BLOCK, 100))
        name = header.split(b"\0", 1)[0].decode("utf-8", "replace")
        return name.split(".", 1)[0]

    def close(self) -> None:
        """Close every file."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _opened(self, shard: int) -> FileIO:
        file = self._open.get(shard)
        if file is not None:
            self._open.move_to_end(shard)
            return file
        if len(self._open) == _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        try:
            file = FileIO(self._folder / self._shards[shard].name)
        except FileNotFoundError:
            raise ShardError(self._name(shard), "is missing") from None
        except OSError as error:
            raise ShardError(self._name(shard), f"cannot be opened ({error.strerror})") from error
        try:
            self._check(shard, file)
        except ShardError:
            file.close()
            raise
        self._open[shard] = file
        return file

    def _check(self, shard: int, file: FileIO) -> None:
        facts = self._shards[shard]
        size = os.fstat(file.fileno()).st_size
        if size != facts.size_bytes:
            raise ShardError(
                self._name(shard), f"has {size} bytes where the manifest says {facts.size_bytes}"
            )
        if not self._checked[shard]:
            if file_digest(file, "sha256").hexdigest() != facts.sha256:
                raise ShardError(self._name(shard), "does not have the manifest's sha256")
            self._checked[shard] = 1

    def _name(self, shard: int) -> str:
        return str(self._folder / self._shards[shard].name)
