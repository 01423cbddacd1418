"""Writing a tar that knows its digest and its index without being read again."""

import hashlib
import importlib
import sys
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np

from data_shards.arrays import Int64s
from data_shards.shards.index import TAR_BLOCK

# A tar ends with two blocks of zeros, filled up to a record of twenty.
_END_BYTES = 2 * TAR_BLOCK
_RECORD_BYTES = 20 * TAR_BLOCK


class ShardWriter:
    """Writes samples, KEY.cls and the image after it, into a file; complete once it is closed."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self._file = _Digesting(file)
        self._suffix = suffix
        self._rows: list[tuple[int, int, int]] = []
        self._next = 0
        # The same bytes whoever packs, whenever: no time, no user.
        self._tar = _tar_writer_class()(
            self._file, encoder=False, mtime=0, user="root", group="root", mode=0o444
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._close()
            return
        # The file is given up; what its writer still holds must not be written when it is closed.
        with suppress(OSError):
            self._tar.close()

    def add(self, key: str, label: int, image: bytes) -> None:
        """Append one sample."""
        self._tar.write({"__key__": key, "cls": str(label).encode(), self._suffix: image})
        # Headers of a block each around a label of one: names and labels are short.
        begin = self._next + 3 * TAR_BLOCK
        self._rows.append((begin, len(image), label))
        self._next = _rounded_up(begin + len(image), TAR_BLOCK)

    def _close(self) -> None:
        self._tar.close()
        expected = _rounded_up(self._next + _END_BYTES, _RECORD_BYTES)
        assert self.size_bytes == expected, "every sample lies where its row says"

    @property
    def rows(self) -> Int64s:
        """(num_samples, 3) offset, size and label of each image."""
        # [] -> (0, 3)
        return np.array(self._rows, dtype=np.int64).reshape(-1, 3)

    @property
    def size_bytes(self) -> int:
        """Bytes written."""
        return self._file.size_bytes

    @property
    def sha256(self) -> str:
        """Digest of the bytes written."""
        return self._file.digest.hexdigest()


class _Digesting:
    """Digests what passes through to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        self.size_bytes += len(content)
        return self._file.write(content)


def _rounded_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _tar_writer_class() -> Any:
    """Import webdataset's writer without torch.

    webdataset works without torch, which it only looks for; finding it would cost each packing
    process seconds and hundreds of megabytes.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        # None stands for a module that cannot be imported.
        sys.modules["torch"] = cast(ModuleType, None)
    try:
        return importlib.import_module("webdataset.writer").TarWriter
    finally:
        if hidden:
            del sys.modules["torch"]
