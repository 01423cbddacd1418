"""Files that are whole or not there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskFullError(OSError):
    """The disk a file was to be written to is full, or the quota on it is used up."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}; free space there, then resume"


@contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Around what writes to a path: raises DiskFullError for a full disk, which names no file."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file aside, force it to disk, and give it its name; replaces what had the name.

    `mode`: its permissions from the first byte on, less those that the process's umask takes.
    Raises OSError, of which DiskFullError, and then leaves nothing behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # A process of the same number may have died here.
    aside.unlink(missing_ok=True)
    try:
        with naming_a_full_disk(path):
            opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(opened, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
    except BaseException:
        # It would keep a full disk full.
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file's content to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force a folder's names to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
