"""Shards of object stores on local disk, fetched once for all processes of a node.

A file lies under its sha256, so that sets and jobs of a node share what is the same. The folder is
of one user: others are kept out, since whoever writes there decides what is read. What is on disk
is all the state there is, and any process may be killed at any moment:

    SHA256         a whole file whose digest was right; its mtime is when it was used last
    SHA256.part    a file being fetched, of its final size from the start, by who holds its lock
    lock           held for a moment by whoever adds, removes or counts
    counters       five numbers

Locks are flock's, which end with their process; one that is held by a stopped process is waited for
within bounds. Files that somebody removes by hand are fetched again. Nothing is forced to disk:
after a loss of power a file may not be what its name says, which the readers' own check before
first use finds out.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from data_shards.errors import ShardError, StorageDownError, StorageError
from data_shards.storage.cache_counters import Counters, add_counters, read_counters, sum_of
from data_shards.storage.cache_folder import (
    NAME,
    WholeFile,
    bytes_in_work,
    is_same,
    last_written,
    locked_file,
    touch,
    whole_files,
)
from data_shards.storage.file_facts import FileFacts
from data_shards.storage.folder import Folder
from data_shards.storage.patience import Patience

CHUNK_BYTES = 8 << 20
# Longer than what a process that fetches waits for one chunk, all tries together.
_PATIENCE_S = 300.0
# How much older than it is a file looks that its reader is done with.
_DONE_WITH_NS = 3600 * 10**9
# How often a file is tried that somebody removes by hand meanwhile.
_TRIES = 3
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MEND_ROOM = "make room there, or lower ALEXNET_SHARD_CACHE_BYTES"
_MEND_DISK = "see to the disk, or name a folder elsewhere as ALEXNET_SHARD_CACHE"
# What is not mended by waiting.
_MEND_BY_ERRNO = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "name a folder as ALEXNET_SHARD_CACHE that this user alone writes to",
) | dict.fromkeys(
    (errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "name a folder, not a file, as ALEXNET_SHARD_CACHE"
)


def _tell_nobody() -> None:
    return


class ShardCache:
    """A bounded folder of files, the least recently used of which make room for others.

    Whole files and those being fetched never hold more than `max_bytes` together; a file that is
    removed while somebody has it open lives on, unnamed, as long as that.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        patience_s: float = _PATIENCE_S,
        arrived: Callable[[], None] = _tell_nobody,
    ) -> None:
        """`patience_s` is how long a process is waited for that does nothing.

        `arrived` is told whenever some of what is waited for has come, whoever fetches it.
        """
        self.folder = folder
        self.max_bytes = max_bytes
        self._patience_s = patience_s
        self._arrived = arrived
        self.done_here = Counters()
        """What was done by way of this object."""

    def telling(self, arrived: Callable[[], None]) -> "ShardCache":
        """Return the same cache, which tells of what arrives."""
        return ShardCache(self.folder, self.max_bytes, patience_s=self._patience_s, arrived=arrived)

    def open(self, facts: FileFacts, source: Callable[[], Folder]) -> FileIO:
        """Open a file for reading; fetch it first where it is not there.

        Whoever asks for a file that another process is fetching waits for it. `source` is where it
        comes from, called only then. Raises ShardError where the source has none, or another one;
        StorageError where it cannot be read, or this disk not be used.
        """
        with self._named():
            for _ in range(_TRIES - 1):
                with suppress(FileNotFoundError):
                    return self._opened(facts) or self._fetched(facts, source)
            return self._fetched(facts, source)

    def keep(self, files: Iterable[FileFacts]) -> list[FileFacts]:
        """Mark files as used now, so that others make room before them; return those not there."""
        absent = []
        with self._named():
            for facts in files:
                try:
                    touch(self.path(facts))
                except FileNotFoundError:
                    absent.append(facts)
        return absent

    def release(self, files: Iterable[FileFacts]) -> None:
        """Have files make room before those that are in use, unless somebody uses them again."""
        with self._named():
            for facts in files:
                with suppress(FileNotFoundError):
                    touch(self.path(facts), ago_ns=_DONE_WITH_NS)

    def drop(self, facts: FileFacts, file: FileIO) -> None:
        """Remove a file that turned out not to be the right one, unless it is another by now."""
        with self._named(), self._locked():
            if is_same(file.fileno(), self.path(facts)):
                self.path(facts).unlink(missing_ok=True)

    def counters(self) -> Counters:
        """Return what the node's cache has done."""
        with self._named():
            return read_counters(self._counters)

    @property
    def _counters(self) -> Path:
        return self.folder / "counters"

    def _fetched(self, facts: FileFacts, source: Callable[[], Folder]) -> FileIO:
        began = time.monotonic_ns()
        with self._part(facts) as part:
            # Another process may have fetched it while we waited.
            if (file := self._opened(facts)) is not None:
                return file
            folder = source()
            self._make_room(facts, part)
            self._fetch(facts, folder, part)
            with self._locked():
                self.path(facts, ".part").replace(self.path(facts))
                file = FileIO(self.path(facts))
                took = time.monotonic_ns() - began
                self._count(Counters(0, 1, facts.size_bytes, 0, took))
            return file

    def _opened(self, facts: FileFacts) -> FileIO | None:
        try:
            file = FileIO(self.path(facts))
        except FileNotFoundError:
            return None
        touch(file.fileno())
        with self._locked():
            self._count(Counters(hits=1))
        return file

    @contextmanager
    def _part(self, facts: FileFacts) -> Iterator[int]:
        """Hold the lock of a file being fetched, an empty one; what is left of it is removed."""
        path = self.path(facts, ".part")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            # Its holder writes a chunk at a time, which shows that it goes on.
            descriptor = locked_file(path, self._patience_s, changed=self._arrived)
            # Else whoever had the lock before us has renamed or removed what we opened.
            if is_same(descriptor, path):
                break
            os.close(descriptor)
        try:
            # What a process left that was killed.
            os.ftruncate(descriptor, 0)
            yield descriptor
        finally:
            # Only the holder of its lock renames or removes it: if it is there, it is ours.
            if is_same(descriptor, path):
                path.unlink(missing_ok=True)
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
        patience = Patience(
            self.folder,
            "what is being fetched left no room",
            self._patience_s,
            changed=self._arrived,
        )
        while True:
            with self._locked():
                if self._took_room(size, part):
                    return
                sign = last_written(self.folder)
            patience.wait(sign)

    def _took_room(self, size: int, part: int) -> bool:
        """Return whether there was room, by the files' age if need be; the lock is held."""
        in_work = bytes_in_work(self.folder)
        if in_work + size > self.max_bytes:
            return False
        whole = whole_files(self.folder)
        excess = in_work + size + sum(file.size for file in whole) - self.max_bytes
        while excess > 0:
            excess -= self._evict(whole.pop(0))
        freed = 0
        while True:
            try:
                os.posix_fallocate(part, 0, size)
            except OSError as error:
                # The disk holds less than the bound says. Where as much as was asked for went, and
                # it is full all the same, somebody else fills it: the rest would go for nothing.
                if error.errno not in _FULL or not whole or freed >= size:
                    raise
                freed += self._evict(whole.pop(0))
            else:
                return True

    def _evict(self, file: WholeFile) -> int:
        file.path.unlink(missing_ok=True)
        self._count(Counters(evictions=1))
        return file.size

    def _count(self, more: Counters) -> None:
        """Count on, here and for the node; the lock is held."""
        add_counters(self._counters, more)
        self.done_here = sum_of(self.done_here, more)

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
        for offset in range(0, facts.size_bytes, CHUNK_BYTES):
            wanted = min(CHUNK_BYTES, facts.size_bytes - offset)
            chunk = folder.read_range(facts.name, offset, wanted)
            digest.update(chunk)
            written = os.pwrite(part, chunk, offset)
            assert written == len(chunk), "the room was taken before"
            self._arrived()
        return digest.hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cache's lock. Never while waiting for a source or another lock."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = locked_file(self.folder / "lock", self._patience_s, changed=self._arrived)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"cannot be used: {error.strerror or error}"
            code = error.errno or 0
            if code in _MEND_BY_ERRNO:
                raise StorageError(str(self.folder), problem, _MEND_BY_ERRNO[code]) from error
            mend = _MEND_ROOM if code in _FULL else _MEND_DISK
            raise StorageDownError(str(self.folder), problem, mend) from error

    def path(self, facts: FileFacts, suffix: str = "") -> Path:
        """Return where a file lies once it is there."""
        assert NAME.fullmatch(facts.sha256), "manifests are checked"
        return self.folder / (facts.sha256 + suffix)
