"""Where a set is packed into: a folder of this machine, or an object store."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from data_shards.durable import sync_folder
from data_shards.errors import PackError, StorageError
from data_shards.manifest import MANIFEST_NAME, Manifest
from data_shards.packing.begun import BEGUN_NAME, WORK_NAME, Begun, read_begun
from data_shards.packing.folder_lock import ORPHANS_END_S, held_folder, locked
from data_shards.packing.record import RECORD_SUFFIX, record_name
from data_shards.packing.shortage import writing
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.location import is_url

# Requests of a few bytes, which wait for an answer and compute nothing.
_REQUESTS_AT_ONCE = 16

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class ShardPlaces:
    """Where shards are while the set is not finished."""

    growing: Path
    """A folder of this machine, in which they are written."""
    finished: str
    """Where those are that are finished: the same folder, or the URL of the set."""
    records: str
    """Where the records of those are."""


class Target(Protocol):
    """The place of a set, held against other packers of this machine."""

    folder: Folder
    """Where the set will be."""
    work: Folder
    """What is known of a packing that is not finished."""
    places: ShardPlaces
    lock: int
    """A descriptor; the lock is held while any process has it."""

    def start_anew(self) -> None:
        """Forget the shards of an earlier run, of whatever request."""
        ...

    def make_way(self) -> None:
        """Be ready to pack, over what earlier runs of the same request finished."""
        ...

    def publish(self, manifest: Manifest, stale: Iterable[str], begun: Begun) -> None:
        """Turn finished shards, and the sidecars and manifest that grew beside them, into a set.

        `stale` are files that go. Without its manifest, which comes last, a set does not exist.
        """
        ...

    def clean(self) -> None:
        """Remove what is not part of the set; it is finished."""
        ...

    def sweep(self) -> None:
        """Remove what was not finished; the rest is for the next run."""
        ...


def ask_each(ask: Callable[[str], _Answer], names: Iterable[str]) -> list[_Answer]:
    """Ask the same of each file, many at once: an object store takes its time to answer each."""
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return list(pool.map(ask, names))


@contextmanager
def open_target(
    location: str | Path, scratch: Path | None, *, wait_s: float = ORPHANS_END_S
) -> Iterator[Target]:
    """Open and hold a path or a URL.

    What goes to an object store grows in `scratch`, by default a folder of the user's cache.
    Raises PackError if another process of this machine packs there.
    """
    if isinstance(location, Path) or not is_url(location):
        out = Path(location)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        with locked(out, str(out), wait_s=wait_s) as lock:
            yield _LocalTarget(out, lock)
        return
    folder = open_folder(location)
    growing = held_folder(folder.location, scratch)
    with writing(growing):
        growing.mkdir(parents=True, exist_ok=True)
    with locked(growing, folder.location, wait_s=wait_s) as lock:
        yield _StoreTarget(folder, growing, lock)


class _LocalTarget:
    """Shards grow and are finished in a folder below; in the end they are renamed."""

    def __init__(self, out: Path, lock: int) -> None:
        work = out / WORK_NAME
        self._out = out
        self._work = work
        self.folder = open_folder(out)
        self.work = open_folder(work)
        self.places = ShardPlaces(growing=work, finished=str(work), records=str(work))
        self.lock = lock

    def start_anew(self) -> None:
        for name in self.work.names():
            # By it the next run knows what lies here, should this one be cut short.
            if name != BEGUN_NAME:
                self.work.delete(name)

    def make_way(self) -> None:
        with writing(self._work):
            self._work.mkdir(exist_ok=True)
            if not (self._out / MANIFEST_NAME).exists():
                self._take_back()
        self.sweep()

    def publish(self, manifest: Manifest, stale: Iterable[str], begun: Begun) -> None:
        with writing(self._out):
            for name in [MANIFEST_NAME, *stale]:
                (self._out / name).unlink(missing_ok=True)
            for entry in manifest.files:
                (self._work / entry.name).replace(self._out / entry.name)
            # The files first, so that no loss of power leaves a manifest without them.
            sync_folder(self._out)
            (self._work / MANIFEST_NAME).replace(self._out / MANIFEST_NAME)
            sync_folder(self._out)
        self.clean()

    def clean(self) -> None:
        with suppress(StorageError):
            # Before that by which the next run knows what they are.
            self.start_anew()
        shutil.rmtree(self._work, ignore_errors=True)

    def sweep(self) -> None:
        names = set(self.work.names())
        for name in names:
            finished = record_name(name) in names
            if not (finished or name == BEGUN_NAME or name.endswith(RECORD_SUFFIX)):
                self.work.delete(name)

    def _take_back(self) -> None:
        """Undo the renames of a run that was killed amid them."""
        names = set(self.work.names())
        for record in names:
            shard = record.removesuffix(RECORD_SUFFIX)
            if shard not in names and (self._out / shard).exists():
                (self._out / shard).replace(self._work / shard)


class _StoreTarget:
    """Shards grow on this machine and are uploaded under their final names when finished."""

    def __init__(self, folder: Folder, growing: Path, lock: int) -> None:
        records = folder.at(WORK_NAME)
        self.folder = folder
        self.work = open_folder(records)
        self.places = ShardPlaces(growing=growing, finished=folder.location, records=records)
        self.lock = lock

    def start_anew(self) -> None:
        self._forget()

    def make_way(self) -> None:
        # What it describes will be overwritten.
        self.folder.delete(MANIFEST_NAME)
        self.sweep()

    def publish(self, manifest: Manifest, stale: Iterable[str], begun: Begun) -> None:
        if read_begun(self.work) != begun:
            raise PackError(
                f"another machine has begun to pack something else into {self.folder.location}; "
                "let one of them finish, and choose another place for the other"
            )
        ask_each(self.folder.delete, stale)
        for entry in (manifest.index, manifest.mean_image):
            self.folder.put(self.places.growing / entry.name, entry.name)
        self.folder.put(self.places.growing / MANIFEST_NAME, MANIFEST_NAME)
        self.clean()

    def clean(self) -> None:
        self._forget()
        self.work.delete(BEGUN_NAME)
        self.sweep()

    def sweep(self) -> None:
        with writing(self.places.growing):
            for path in self.places.growing.iterdir():
                path.unlink()

    def _forget(self) -> None:
        ask_each(self.work.delete, [name for name in self.work.names() if name != BEGUN_NAME])
