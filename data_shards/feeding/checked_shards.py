"""Which shard files of this machine had the right digest, remembered from reader to reader.

A marker, an empty file in the user's cache, stands for one file as it was when it was digested:
its name is made of device, inode, size, times of last change, and the digest. The time of change
(ctime) moves with whatever is done to a file, and nobody can set it back; so a file that is
written to, replaced, or merely touched is digested again.

Not found is what the file system does not know of: bits that rot on the disk beneath it, and
writes by a process that had the file mapped for writing before it was digested. `verify` reads
everything, whatever is remembered.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from data_shards.storage.file_facts import FileFacts
from data_shards.storage.set_files import has_digest
from data_shards.user_cache import kept_folder

# Within a file system's smallest step of time, 2 s at most, a second change leaves no trace.
_SETTLED_NS = 2 * 10**9
# Assumed: who comes back later can wait for a digest.
_KEPT_S = 30 * 24 * 3600
_SWEPT_EVERY_S = 24 * 3600


@dataclass(frozen=True)
class CheckedShards:
    """The markers in a folder; without one, nothing is remembered. Can be pickled."""

    folder: Path | None = None

    def has_digest(self, file: FileIO, facts: FileFacts) -> bool:
        """Tell whether an open file has the manifest's digest: by its marker, or by reading it."""
        if self.folder is None:
            return has_digest(file, facts)
        before = _marker(file, facts)
        if _use(self.folder / before):
            return True
        if not has_digest(file, facts):
            return False
        # Later than the last byte was read, earlier than the look at what may have changed.
        now = time.time_ns()
        settled = now - os.fstat(file.fileno()).st_ctime_ns >= _SETTLED_NS
        if settled and _marker(file, facts) == before:
            # What cannot be remembered is digested again.
            with contextlib.suppress(OSError):
                (self.folder / before).touch()
        return True


def users_checked_shards() -> CheckedShards:
    """Return what this user's readers share, less what has not been used for 30 days.

    Nothing is remembered where the user has no cache that can be written to.
    """
    folder = kept_folder("checked")
    if folder is not None:
        with contextlib.suppress(OSError):
            _sweep(folder, time.time())
    return CheckedShards(folder)


def _use(marker: Path) -> bool:
    """Note that a marker is used, by its mtime; tell whether there is one."""
    try:
        os.utime(marker)
    except OSError:
        return False
    return True


def _marker(file: FileIO, facts: FileFacts) -> str:
    """Return the name of the marker of a file as it is now."""
    is_now = os.fstat(file.fileno())
    known = (is_now.st_dev, is_now.st_ino, is_now.st_size, is_now.st_mtime_ns, is_now.st_ctime_ns)
    return hashlib.sha256(repr((*known, facts.sha256)).encode()).hexdigest()


def _sweep(folder: Path, now: float) -> None:
    """Remove markers that nobody used for long; looks at them once a day at most."""
    swept = folder / ".swept"
    with contextlib.suppress(FileNotFoundError):
        if now - swept.stat().st_mtime < _SWEPT_EVERY_S:
            return
    swept.touch()
    for marker in folder.iterdir():
        # Another reader may sweep as well.
        with contextlib.suppress(FileNotFoundError):
            if now - marker.stat().st_mtime > _KEPT_S:
                marker.unlink()
