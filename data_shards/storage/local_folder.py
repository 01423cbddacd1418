"""A folder of this machine."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_shards.durable import sync_file, sync_folder
from data_shards.errors import StorageError
from data_shards.storage.failure import too_large

_MEND_READING = "mend the file, or name another folder"
_MEND_WRITING = "make room or ask for the right to write there, or name another folder"
# What a file is called until it is whole.
PART_SUFFIX = ".part"


class LocalFolder:
    """Files below a path; as Folder describes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def location(self) -> str:
        """The path."""
        return str(self.path)

    def at(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)

    def read_bytes(self, name: str, max_bytes: int) -> bytes:
        """Read a whole file; StorageError if it holds more than `max_bytes`."""
        with self._named(name, "read", _MEND_READING), (self.path / name).open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise too_large(self.at(name), self.size(name), max_bytes)
        return content

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes at `offset`; StorageError if the file ends before."""
        with self._named(name, "read", _MEND_READING), (self.path / name).open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise StorageError(self.at(name), f"ends before byte {offset + size}", _MEND_READING)
        return content

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it as a stream."""
        with self._named(name, "read", _MEND_READING):
            return (self.path / name).open("rb")

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        with self._named(name, "read", _MEND_READING):
            return (self.path / name).stat().st_size

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        return (self.path / name).is_file()

    def names(self) -> Sequence[str]:
        """List the files in the folder itself, sorted; none where there is no such folder."""
        with self._named("", "read", _MEND_READING):
            try:
                return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())
            except FileNotFoundError:
                return []

    def put(self, path: Path, name: str) -> None:
        """Copy a local file here; on disk under its name only when it is whole."""

        def copy(part: Path) -> None:
            shutil.copyfile(path, part)

        self._write(name, copy)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write a small file here, as `put` does."""

        def write(part: Path) -> None:
            part.write_bytes(content)

        self._write(name, write)

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with self._named(name, "deleted", _MEND_WRITING):
            (self.path / name).unlink(missing_ok=True)

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        target = self.path / name
        part = target.with_name(target.name + PART_SUFFIX)
        with self._named(name, "written", _MEND_WRITING):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(part)
                sync_file(part)
                part.replace(target)
                sync_folder(target.parent)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _named(self, name: str, done: str, mend: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(self.at(name), f"cannot be {done}: {reason}", mend) from error
