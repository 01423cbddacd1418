"""The files a manifest speaks of, opened where they lie: on disk, or in the node's shard cache."""

import os
import time
from collections.abc import Callable
from hashlib import file_digest
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Protocol

from data_shards.errors import ShardError
from data_shards.storage.file_facts import FileFacts
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.location import is_url, parse_url
from data_shards.storage.node_cache import node_cache
from data_shards.storage.shard_cache import ShardCache


class Fetched(NamedTuple):
    """What opening files by way of the node's cache came to, in this process."""

    seconds: float = 0.0
    bytes: int = 0
    hits: int = 0
    misses: int = 0

    def since(self, before: "Fetched") -> "Fetched":
        """Return what came after an earlier reading."""
        return Fetched(
            self.seconds - before.seconds,
            self.bytes - before.bytes,
            self.hits - before.hits,
            self.misses - before.misses,
        )


class SetFiles(Protocol):
    """Opens a set's files on local disk; can be pickled."""

    def at(self, name: str) -> str:
        """Return where a file of the set lies, to be shown."""
        ...

    def open(self, facts: FileFacts) -> FileIO:
        """Open a file for reading; whether it is the right one is the caller's to check.

        Raises ShardError where there is none, and StorageError.
        """
        ...

    def spoiled(self, facts: FileFacts, file: FileIO) -> bool:
        """Hear that a file is not the right one; tell whether opening it again may help."""
        ...

    def size(self, facts: FileFacts) -> int | None:
        """Return the size on local disk of a file as it is now; None where there is none."""
        ...

    def telling(self, arrived: Callable[[], None]) -> "SetFiles":
        """Return the same, which tells whenever some of a file that is waited for has arrived."""
        ...

    @property
    def fetched(self) -> Fetched | None:
        """What was fetched by way of this object; None where files are read where they lie."""
        ...


class LocalFiles:
    """A set in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def at(self, name: str) -> str:
        """Return a file's path."""
        return str(self.folder / name)

    def open(self, facts: FileFacts) -> FileIO:
        """Open the file itself."""
        try:
            return FileIO(self.folder / facts.name)
        except FileNotFoundError:
            raise ShardError(self.at(facts.name), "is missing") from None
        except OSError as error:
            problem = f"cannot be opened ({error.strerror})"
            raise ShardError(self.at(facts.name), problem) from error

    def spoiled(self, facts: FileFacts, file: FileIO) -> bool:
        """Say that there is no other."""
        return False

    def size(self, facts: FileFacts) -> int | None:
        """Return the file's size."""
        return _size(self.folder / facts.name)

    def telling(self, arrived: Callable[[], None]) -> "LocalFiles":
        """Return the same: all is here."""
        return self

    @property
    def fetched(self) -> None:
        """Nothing ever is."""
        return None


class CachedFiles:
    """A set in an object store, of which this node has what it uses."""

    def __init__(self, location: str, cache: ShardCache) -> None:
        self.cache = cache
        self._location = location
        self._folder: Folder | None = None
        self._seconds = 0.0

    def at(self, name: str) -> str:
        """Return a file's URL."""
        return f"{self._location}/{name}"

    def open(self, facts: FileFacts) -> FileIO:
        """Open the node's copy, fetched if need be."""
        began = time.perf_counter()
        try:
            return self.cache.open(facts, self._source)
        finally:
            self._seconds += time.perf_counter() - began

    def spoiled(self, facts: FileFacts, file: FileIO) -> bool:
        """Remove the copy, so that it is fetched again."""
        self.cache.drop(facts, file)
        return True

    def size(self, facts: FileFacts) -> int | None:
        """Return the copy's size."""
        return _size(self.cache.path(facts))

    def telling(self, arrived: Callable[[], None]) -> "CachedFiles":
        """Return the same, by a cache that tells of what arrives."""
        return CachedFiles(self._location, self.cache.telling(arrived))

    @property
    def fetched(self) -> Fetched:
        """What was fetched, and how long openings took, of several threads together."""
        done = self.cache.done_here
        return Fetched(self._seconds, done.bytes_fetched, done.hits, done.fetches)

    def _source(self) -> Folder:
        # Kept for its connections; first made where something is missing, since a driver takes
        # longer to import than a loader to start.
        if self._folder is None:
            self._folder = open_folder(self._location)
        return self._folder


def files_at(location: str | Path) -> SetFiles:
    """Return what opens the files of a set in a folder, or through this node's cache below a URL.

    Raises StorageError where the URL, or the cache's settings, are not usable.
    """
    if not is_url(location):
        return LocalFiles(Path(location))
    return CachedFiles(parse_url(location).url, node_cache())


DigestCheck = Callable[[FileIO, FileFacts], bool]


def has_digest(file: FileIO, facts: FileFacts) -> bool:
    """Read an open file whole, and tell whether it has the manifest's digest."""
    return file_digest(file, "sha256").hexdigest() == facts.sha256


def open_right(
    files: SetFiles,
    facts: FileFacts,
    *,
    digested: bool = False,
    has_digest: DigestCheck = has_digest,
) -> FileIO:
    """Open a file that has the manifest's size and digest; `digested` spares the second.

    `has_digest` tells of the second, by default from all of the file.

    Raises ShardError, StorageError.
    """
    file = files.open(facts)
    if (problem := _problem(file, facts, None if digested else has_digest)) is None:
        return file
    with file:
        again = files.spoiled(facts, file)
    if again:
        file = files.open(facts)
        if (problem := _problem(file, facts, has_digest)) is None:
            return file
        file.close()
    raise ShardError(files.at(facts.name), problem)


def _problem(file: FileIO, facts: FileFacts, has_digest: DigestCheck | None) -> str | None:
    size = os.fstat(file.fileno()).st_size
    if size != facts.size_bytes:
        return f"has {size} bytes where the manifest says {facts.size_bytes}"
    if has_digest is not None and not has_digest(file, facts):
        return "does not have the manifest's sha256"
    file.seek(0)
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
