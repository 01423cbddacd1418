"""A folder in an object store, through fsspec; every request is bounded, and tried again."""

import functools
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from data_shards.errors import StorageDownError, StorageError
from data_shards.storage.failure import ShortReadError, failure_of, too_large
from data_shards.storage.location import DRIVERS, ObjectLocation, parse_url
from data_shards.storage.range_file import RangeFile
from data_shards.storage.retries import RetryPolicy

# Assumed: what a store that is well takes to accept a connection, and between two packets.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
# A request costs tens of milliseconds whatever it reads: streams read this much at a time.
_STREAM_BYTES = 8 << 20

_Answer = TypeVar("_Answer")


class ObjectFolder:
    """Objects below a URL; as Folder describes."""

    def __init__(
        self, url: str, policy: RetryPolicy, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._location = parse_url(url)
        self._policy = policy
        self._sleep = sleep
        self._system = _file_system(self._location)

    @property
    def location(self) -> str:
        """The URL."""
        return self._location.url

    def at(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.location}/{name}"

    def read_bytes(self, name: str, max_bytes: int) -> bytes:
        """Read a whole object; StorageError if it holds more than `max_bytes`."""
        size = self.size(name)
        if size > max_bytes:
            raise too_large(self.at(name), size, max_bytes)
        return self.read_range(name, 0, size)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes at `offset`."""
        if size == 0:
            return b""

        def read() -> bytes:
            content: bytes = self._system.cat_file(
                self._path(name), start=offset, end=offset + size
            )
            if len(content) != size:
                raise ShortReadError(f"{len(content)} bytes came of {size} at {offset}")
            return content

        return self._tried(name, "read", read)

    def open(self, name: str) -> BinaryIO:
        """Open an object to read it as a stream, 8 MiB at a time."""
        raw = RangeFile(self.size(name), functools.partial(self.read_range, name))
        return io.BufferedReader(raw, _STREAM_BYTES)

    def size(self, name: str) -> int:
        """Return an object's size in bytes."""

        def ask() -> int:
            facts = self._system.info(self._path(name))
            if facts["type"] != "file":
                raise FileNotFoundError(self.at(name))
            return int(facts["size"])

        return self._tried(name, "read", ask)

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> Sequence[str]:
        """List the objects in the folder itself, sorted; none where there is no such folder."""

        def ask() -> list[str]:
            try:
                entries = self._system.ls(self._path(""), detail=True)
            except FileNotFoundError:
                return []
            # A folder made in a store's console is an object whose name ends with a slash.
            paths = [entry["name"] for entry in entries if entry["type"] == "file"]
            return sorted(path.rpartition("/")[2] for path in paths if not path.endswith("/"))

        return self._tried("", "listed", ask)

    def put(self, path: Path, name: str) -> None:
        """Copy a local file here; an object shows only when it is whole."""

        def write() -> None:
            self._system.put_file(str(path), self._path(name))

        self._tried(name, "written", write)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write a small object."""

        def write() -> None:
            self._system.pipe_file(self._path(name), content)

        self._tried(name, "written", write)

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""

        def remove() -> None:
            try:
                self._system.rm_file(self._path(name))
            except FileNotFoundError:
                return

        self._tried(name, "deleted", remove)

    def _path(self, name: str) -> str:
        return f"{self._location.path}/{name}".rstrip("/")

    def _tried(self, name: str, done: str, ask: Callable[[], _Answer]) -> _Answer:
        """Ask until there is an answer, an error that will not pass, or no try left."""
        location = self.at(name).rstrip("/")
        began = time.monotonic()
        delays = iter(self._policy.delays())
        while True:
            try:
                return ask()
            except FileNotFoundError:
                raise FileNotFoundError(location) from None
            # Drivers' own errors have no base in common.
            except Exception as error:
                failure = failure_of(error)
                if not failure.may_pass:
                    problem = f"cannot be {done}: {failure.reason}"
                    raise StorageError(location, problem, failure.mend) from error
                delay = next(delays, None)
                if delay is None:
                    problem = (
                        f"could not be {done} after {self._policy.tries} tries in "
                        f"{time.monotonic() - began:.0f} s: {failure.reason}"
                    )
                    raise StorageDownError(location, problem, failure.mend) from error
            self._sleep(delay)


# A file system of fsspec, which has no types.
def _file_system(location: ObjectLocation) -> Any:
    driver, package = DRIVERS[location.scheme]
    options: dict[str, Any] = {"use_listings_cache": False}
    if driver == "s3":
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _READ_TIMEOUT_S,
            # Tries are counted here, for every store alike.
            "retries": {"total_max_attempts": 1},
        }
    try:
        system = fsspec.filesystem(driver, **options)
    except ImportError:
        raise StorageError(
            location.url, f"needs the package {package}", f"install it: pip install {package}"
        ) from None
    if driver == "s3":
        system.retries = 1
    return system
