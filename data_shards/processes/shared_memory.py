"""Memory shared between processes that has no name, so that nothing is left when they die."""

import mmap
import os
import tempfile
from typing import IO


class SharedMemory:
    """An anonymous block; child processes inherit its file descriptor and map it too."""

    def __init__(self, size_bytes: int) -> None:
        self._file = _anonymous_file()
        self._file.truncate(size_bytes)
        self.fd = self._file.fileno()
        self.buffer = map_shared(self.fd, size_bytes)

    def close(self) -> None:
        """Give up the descriptor; the memory itself goes with the last array that views it."""
        self._file.close()


def map_shared(fd: int, size_bytes: int) -> mmap.mmap:
    """Map a block by its descriptor, for reading and writing."""
    return mmap.mmap(fd, size_bytes)


def _anonymous_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("batches"), "r+b", buffering=0)
    # Systems without memfd: a file that has lost its name before anybody could see it.
    return tempfile.TemporaryFile()
