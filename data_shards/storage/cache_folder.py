"""What lies in the folder of a shard cache, and whose it is; each function may raise OSError."""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from data_shards.storage.patience import lock_or_give_up

NAME = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[0-9a-f]{64}\.part")


class WholeFile(NamedTuple):
    """A file that was fetched; they sort by when they were used last."""

    used_ns: int
    size: int
    path: Path


def whole_files(folder: Path) -> list[WholeFile]:
    """Return the whole files, least recently used first; the cache's lock is held."""
    return sorted(
        WholeFile(facts.st_mtime_ns, facts.st_size, path) for path, facts in _files(folder, NAME)
    )


def bytes_in_work(folder: Path) -> int:
    """Return what files being fetched take; remove those whose process died; lock held."""
    return sum(_size_in_work(path) for path, _ in _files(folder, _PART))


def last_written(folder: Path) -> int:
    """Return when something was written last to a file being fetched, ns; the lock is held."""
    return max((facts.st_mtime_ns for _, facts in _files(folder, _PART)), default=0)


def touch(file: Path | int, *, ago_ns: int = 0) -> None:
    """Note that a file was used now, or a while ago."""
    # The kernel's own stamps are milliseconds apart.
    now = time.time_ns() - ago_ns
    # Of another user's file only that user says when it was used.
    with suppress(PermissionError):
        os.utime(file, ns=(now, now))


def is_same(descriptor: int, path: Path) -> bool:
    """Tell whether a path still names what was opened by it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def locked_file(path: Path, patience_s: float, *, changed: Callable[[], None]) -> int:
    """Return the descriptor of a file, made if need be, whose lock this process has now.

    `changed` is told when whoever has it writes to it. Raises StorageDownError where they do
    nothing for too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        lock_or_give_up(descriptor, path, patience_s, changed=changed)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _files(folder: Path, name: re.Pattern[str]) -> Iterator[tuple[Path, os.stat_result]]:
    for entry in os.scandir(folder):
        if name.fullmatch(entry.name):
            # Somebody may remove files by hand.
            with suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat()


def _size_in_work(path: Path) -> int:
    """Return the size of a part, or 0 after removing one that nobody works on any more."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fstat(descriptor).st_size
    else:
        if is_same(descriptor, path):
            path.unlink(missing_ok=True)
        return 0
    finally:
        os.close(descriptor)
