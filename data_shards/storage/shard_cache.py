"""Shards of object stores on local disk, fetched once for all processes of a node.

A file lies under its sha256, so that sets, jobs and users of a node share what is the same. What
is on disk is all the state there is, and any process may be killed at any moment:

    SHA256         a whole file whose digest was right; its mtime is when it was used last
    SHA256.part    a file being fetched, of its final size from the start, by who holds its lock
    lock           held for a moment by whoever adds, removes or counts
    counters       five numbers

Locks are flock's, which end with their process. Nothing is forced to disk: after a loss of power a
file may not be what its name says, which the readers' own check before first use finds out.
"""

import errno
import fcntl
import hashlib
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from data_shards.errors import ShardError, StorageDownError, StorageError
from data_shards.storage.file_facts import FileFacts
from data_shards.storage.folder import Folder

_NAME = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[0-9a-f]{64}\.part")
_CHUNK_BYTES = 8 << 20
# How long somebody waits who finds the cache full of files that others are fetching.
_WAIT_S = 0.02
_MEND_ROOM = "make room there, or lower ALEXNET_SHARD_CACHE_BYTES"


class Counters(NamedTuple):
    """What a node's cache has done since it was made; a killed process may leave out its last."""

    hits: int = 0
    """Openings of a file that was there."""
    fetches: int = 0
    bytes_fetched: int = 0
    evictions: int = 0
    nanoseconds_fetching: int = 0
    """Over all processes, which may fetch at the same time."""


_COUNTERS = struct.Struct(f"<{len(Counters._fields)}q")


class ShardCache:
    """A bounded folder of files, the least recently used of which make room for others.

    Whole files and those being fetched never hold more than `max_bytes` together; a file that is
    removed while somebody has it open lives on, unnamed, as long as that.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def open(self, facts: FileFacts, source: Callable[[], Folder]) -> FileIO:
        """Open a file for reading; fetch it first where it is not there.

        Whoever asks for a file that another process is fetching waits for it. `source` is where it
        comes from, called only then. Raises ShardError where the source has none, or another one;
        StorageError where it cannot be read, or this disk not be written.
        """
        if (file := self._opened(facts)) is not None:
            self._count(Counters(hits=1))
            return file
        began = time.monotonic_ns()
        with self._part(facts) as part:
            # Another process may have fetched it while we waited.
            if (file := self._opened(facts)) is not None:
                self._count(Counters(hits=1))
                return file
            folder = source()
            self._make_room(facts, part)
            self._fetch(facts, folder, part)
            with self._locked():
                self.path(facts, ".part").replace(self.path(facts))
                file = FileIO(self.path(facts))
                took = time.monotonic_ns() - began
                self._add(Counters(0, 1, facts.size_bytes, 0, took))
            return file

    def keep(self, files: Iterable[FileFacts]) -> list[FileFacts]:
        """Mark files as used now, so that others make room before them; return those not there."""
        absent = []
        for facts in files:
            try:
                _touch(self.path(facts))
            except FileNotFoundError:
                absent.append(facts)
        return absent

    def drop(self, facts: FileFacts, file: FileIO) -> None:
        """Remove a file that turned out not to be the right one, unless it is another by now."""
        with self._locked(), suppress(FileNotFoundError):
            if _same(file.fileno(), self.path(facts)):
                self.path(facts).unlink()

    def counters(self) -> Counters:
        """Return what the node's cache has done."""
        try:
            content = (self.folder / "counters").read_bytes()
        except FileNotFoundError:
            return Counters()
        return (
            Counters(*_COUNTERS.unpack(content)) if len(content) == _COUNTERS.size else Counters()
        )

    def _opened(self, facts: FileFacts) -> FileIO | None:
        try:
            file = FileIO(self.path(facts))
        except FileNotFoundError:
            return None
        _touch(file.fileno())
        return file

    @contextmanager
    def _part(self, facts: FileFacts) -> Iterator[int]:
        """Hold the lock of a file being fetched, an empty one; what is left of it is removed."""
        path = self.path(facts, ".part")
        with self._named():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Whoever had the lock before us has renamed or removed what we opened.
                if _same(descriptor, path):
                    break
                os.close(descriptor)
            # What a process left that was killed.
            os.ftruncate(descriptor, 0)
        try:
            yield descriptor
        finally:
            # Only the holder of its lock renames or removes it: if it is there, it is ours.
            if _same(descriptor, path):
                path.unlink()
            os.close(descriptor)

    def _make_room(self, facts: FileFacts, part: int) -> None:
        """Give a part its final size, and remove what it takes the place of."""
        size = facts.size_bytes
        if size > self.max_bytes:
            raise StorageError(
                str(self.folder),
                f"may hold {self.max_bytes} bytes, too few for {facts.name} with {size}",
                "raise ALEXNET_SHARD_CACHE_BYTES",
            )
        while True:
            with self._locked():
                if self._took_room(size, part):
                    return
            time.sleep(_WAIT_S)

    def _took_room(self, size: int, part: int) -> bool:
        """Return whether there was room, by the files' age if need be; the lock is held."""
        whole, used = self._whole_files(), self._bytes_of_parts()
        used += sum(file.size for file in whole)
        for file in whole:
            if used + size <= self.max_bytes:
                break
            used -= self._evict(file)
        if used + size > self.max_bytes:
            return False
        whole = self._whole_files()
        while True:
            try:
                with self._named():
                    os.posix_fallocate(part, 0, size)
            except StorageError as error:
                cause = error.__cause__
                full = isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}
                if not full or not whole:
                    raise
                # The disk holds less than the bound says.
                self._evict(whole.pop(0))
            else:
                return True

    def _evict(self, file: "_Whole") -> int:
        file.path.unlink()
        self._add(Counters(evictions=1))
        return file.size

    def _whole_files(self) -> list["_Whole"]:
        """Return the whole files, least recently used first; the lock is held."""
        found = []
        for entry in os.scandir(self.folder):
            if _NAME.fullmatch(entry.name):
                facts = entry.stat()
                found.append(_Whole(facts.st_mtime_ns, facts.st_size, Path(entry.path)))
        return sorted(found)

    def _bytes_of_parts(self) -> int:
        """Return what files being fetched take; remove those whose process died; lock held."""
        used = 0
        for entry in os.scandir(self.folder):
            if _PART.fullmatch(entry.name):
                used += _size_in_work(Path(entry.path))
        return used

    def _fetch(self, facts: FileFacts, folder: Folder, part: int) -> None:
        """Fill a part and check it; a wrong digest is worth one more try."""
        try:
            size = folder.size(facts.name)
            if size != facts.size_bytes:
                problem = f"has {size} bytes where the manifest says {facts.size_bytes}"
                raise ShardError(folder.at(facts.name), problem)
            if facts.sha256 not in (self._filled(facts, folder, part) for _ in range(2)):
                raise ShardError(folder.at(facts.name), "does not have the manifest's sha256")
        except FileNotFoundError:
            raise ShardError(folder.at(facts.name), "is missing") from None

    def _filled(self, facts: FileFacts, folder: Folder, part: int) -> str:
        """Write the source's bytes to a part, and return their digest."""
        digest = hashlib.sha256()
        for offset in range(0, facts.size_bytes, _CHUNK_BYTES):
            wanted = min(_CHUNK_BYTES, facts.size_bytes - offset)
            chunk = folder.read_range(facts.name, offset, wanted)
            digest.update(chunk)
            with self._named():
                written = os.pwrite(part, chunk, offset)
            assert written == len(chunk), "the room was taken before"
        return digest.hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cache's lock. Never while waiting for a source or another lock."""
        with self._named():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _count(self, more: Counters) -> None:
        with self._locked():
            self._add(more)

    def _add(self, more: Counters) -> None:
        """Count; the lock is held."""
        total = (a + b for a, b in zip(self.counters(), more, strict=True))
        with self._named():
            descriptor = os.open(self.folder / "counters", os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, _COUNTERS.pack(*total), 0)
            finally:
                os.close(descriptor)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            problem = f"cannot be written: {reason}"
            raise StorageDownError(str(self.folder), problem, _MEND_ROOM) from error

    def path(self, facts: FileFacts, suffix: str = "") -> Path:
        """Return where a file lies once it is there."""
        assert _NAME.fullmatch(facts.sha256), "manifests are checked"
        return self.folder / (facts.sha256 + suffix)


class _Whole(NamedTuple):
    used_ns: int
    size: int
    path: Path


def _touch(file: Path | int) -> None:
    # The kernel's own stamps are milliseconds apart.
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def _same(descriptor: int, path: Path) -> bool:
    """Tell whether a path still names what was opened by it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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
        if _same(descriptor, path):
            path.unlink()
        return 0
    finally:
        os.close(descriptor)
