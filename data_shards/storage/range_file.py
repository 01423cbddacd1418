"""A stream over something that is read range by range."""

import io
from collections.abc import Callable


class RangeFile(io.RawIOBase):
    """A raw stream; to be buffered."""

    def __init__(self, size_bytes: int, read_range: Callable[[int, int], bytes]) -> None:
        """Take the file's size, and what gives all bytes of a range: (offset, size) within it."""
        self._size = size_bytes
        self._read_range = read_range
        self._position = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as of any file."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"no file has a byte {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read the next bytes."""
        size = min(len(buffer), max(self._size - self._position, 0))
        if size:
            buffer[:size] = self._read_range(self._position, size)
            self._position += size
        return size
