"""Files of a run directory, opened so that no name, link or device leads anywhere else."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not waiting: a pipe in place of a file would be waited for until somebody writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO}
)
# An order holds its attempt's token; what Ray keeps is Ray's.
_SECRET = frozenset({"order.json"})
_RAYS = "ray"


class NoSuchFileError(Exception):
    """A run directory has no such file, or none that is given away."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the run directory has no file {path!r} that can be given away")


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A file that is given away."""

    path: str
    """Relative to the run directory."""
    size_bytes: int
    modified_at: datetime


def may_be_given(parts: Sequence[str]) -> bool:
    """Say whether a path, by its parts, is of what may leave the run directory. Pure.

    Hidden names are of files that are being written, an order among them, or deleted.
    """
    return (
        bool(parts)
        and not any(not part or part.startswith(".") or "\0" in part for part in parts)
        and not any(part in _SECRET for part in parts)
        and not (len(parts) > 2 and parts[0] == "attempts" and parts[2] == _RAYS)
    )


def open_file(run: Path, path: str) -> int:
    """Open a regular file of a run directory and return its descriptor.

    Every folder on the way is opened by its name in the one before, and none through a link, so
    that nothing that is moved or laid meanwhile leads outside. Raises NoSuchFileError, or OSError
    where the disk cannot be used.
    """
    parts = path.split("/")
    if not may_be_given(parts):
        raise NoSuchFileError(path)
    try:
        return _open(run, parts)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise NoSuchFileError(path) from error


def _open(run: Path, parts: Sequence[str]) -> int:
    folder = os.open(run, _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        file = os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.ENOENT, "this is no file")
    return file


def list_files(run: Path) -> Iterator[RunFile]:
    """Yield the files of a run directory that are given away, in the order of their paths."""
    yield from _list(run, ())


def _list(folder: Path, above: tuple[str, ...]) -> Iterator[RunFile]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        # Deleted meanwhile, as checkpoints are.
        return
    for entry in entries:
        parts = (*above, entry.name)
        if entry.is_dir(follow_symlinks=False):
            if may_be_given((*parts, "any")):
                yield from _list(folder / entry.name, parts)
        elif entry.is_file(follow_symlinks=False) and may_be_given(parts):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield RunFile(
                path="/".join(parts),
                size_bytes=status.st_size,
                modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
            )
