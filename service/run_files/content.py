"""What can be read in parts, and goes on being there while it is read."""

import hashlib
import os
import re
from pathlib import Path
from typing import Protocol

from service.run_files.confined import open_file

CHUNK_BYTES = 1 << 18
# What the tag of a growing file tells it by: inodes alone are given again.
_END_BYTES = 1024
_TAG = re.compile(r'"([0-9a-f]{1,16})-[0-9a-f]{32}"')


class Content(Protocol):
    """Bytes of a known number; closed by whoever opened it."""

    size_bytes: int
    etag: str
    """Strong: bytes under one tag are the same bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop), all of them; raises OSError where they are gone."""

    def begins_with(self, etag: str) -> bool:
        """Say whether what had this tag is still all that lies before its end."""

    def close(self) -> None:
        """Let go of it."""


class FileContent:
    """A file as large as it was when it was opened: what is added later is of another tag."""

    def __init__(self, run: Path, path: str, *, grows: bool = False) -> None:
        """Open a file of a run directory; `grows`: it is only ever added to.

        Raises NoSuchFileError, or OSError.
        """
        self._file = open_file(run, path)
        status = os.fstat(self._file)
        self.size_bytes = status.st_size
        self._grows = grows
        if grows:
            self.etag = self._tag_at(self.size_bytes)
        else:
            self.etag = f'"{status.st_ino:x}-{self.size_bytes:x}-{status.st_mtime_ns:x}"'

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop)."""
        return read_fully(self._file, start, stop)

    def begins_with(self, etag: str) -> bool:
        """Say whether what had this tag is the beginning of what is there now."""
        if not self._grows:
            return etag == self.etag
        size = _TAG.fullmatch(etag)
        return (
            size is not None
            and int(size[1], 16) <= self.size_bytes
            and etag == self._tag_at(int(size[1], 16))
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _tag_at(self, size: int) -> str:
        """Return the tag that a file which grows has when it is so large: of what ends there."""
        end = self.read(max(size - _END_BYTES, 0), size)
        inode = os.fstat(self._file).st_ino
        return f'"{size:x}-{hashlib.sha256(b"%d" % inode + end).hexdigest()[:32]}"'


def read_fully(file: int, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of an open file; raises OSError where it has been cut short."""
    found = b""
    while start + len(found) < stop:
        more = os.pread(file, stop - start - len(found), start + len(found))
        if not more:
            raise OSError(f"a file was cut short at byte {start + len(found)}")
        found += more
    return found
