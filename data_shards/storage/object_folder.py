"""A folder in an object store, through fsspec; every request is bounded, and tried again."""

import functools
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from data_shards.errors import StorageDeniedError, StorageDownError, StorageError
from data_shards.storage.failure import ShortReadError, failure_of, too_large
from data_shards.storage.file_system import UnheldDriverError, open_file_system
from data_shards.storage.location import DRIVERS, ObjectLocation, parse_url
from data_shards.storage.range_file import RangeFile
from data_shards.storage.retries import RetryPolicy

# Assumed: what a store that is well takes to accept a connection, and between two packets.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
# A request costs tens of milliseconds whatever it reads: streams read this much at a time.
_STREAM_BYTES = 8 << 20
# What a listing is given time for: it is many requests, a thousand names each.
_LISTING_BYTES = 64 << 20

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
            content: bytes = self._ask(
                "cat_file", self._path(name), start=offset, end=offset + size, size=size
            )
            if len(content) != size:
                raise ShortReadError(f"{len(content)} bytes came of {size} at {offset}")
            return content

        return self._tried(name, "read", read, size)

    def open(self, name: str) -> BinaryIO:
        """Open an object to read it as a stream, 8 MiB at a time."""
        raw = RangeFile(self.size(name), functools.partial(self.read_range, name))
        return io.BufferedReader(raw, _STREAM_BYTES)

    def size(self, name: str) -> int:
        """Return an object's size in bytes."""

        def ask() -> int:
            facts = self._ask("info", self._path(name))
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
                entries = self._ask("ls", self._path(""), detail=True, size=_LISTING_BYTES)
            except FileNotFoundError:
                return []
            # A folder made in a store's console is an object whose name ends with a slash.
            paths = [entry["name"] for entry in entries if entry["type"] == "file"]
            return sorted(path.rpartition("/")[2] for path in paths if not path.endswith("/"))

        return self._tried("", "listed", ask)

    def put(self, path: Path, name: str) -> None:
        """Copy a local file here; an object shows only when it is whole."""
        size = path.stat().st_size

        def write() -> None:
            self._ask("put_file", str(path), self._path(name), size=size)

        self._tried(name, "written", write, size)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write a small object."""

        def write() -> None:
            self._ask("pipe_file", self._path(name), content, size=len(content))

        self._tried(name, "written", write, len(content))

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""

        def remove() -> None:
            try:
                self._ask("rm_file", self._path(name))
            except FileNotFoundError:
                return

        self._tried(name, "deleted", remove)

    def _path(self, name: str) -> str:
        return f"{self._location.path}/{name}".rstrip("/")

    def _ask(self, method: str, *arguments: object, size: int = 0, **options: object) -> Any:
        """Call the driver; TimeoutError where a whole answer of `size` bytes takes too long."""
        if not self._system.async_impl:
            return getattr(self._system, method)(*arguments, **options)
        deadline_s = self._policy.deadline_s(size)
        try:
            return sync(
                self._system.loop,
                getattr(self._system, f"_{method}"),
                *arguments,
                timeout=deadline_s,
                **options,
            )
        except FSTimeoutError:
            raise TimeoutError(f"no whole answer within {deadline_s:.0f} s") from None

    def _tried(self, name: str, done: str, ask: Callable[[], _Answer], size: int = 0) -> _Answer:
        """Ask until there is an answer, an error that will not pass, or no try or time left."""
        location = self.at(name).rstrip("/")
        began = time.monotonic()
        no_more = began + self._policy.total_s + self._policy.transfer_s(size)
        tries = 1
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
                    kind = StorageDeniedError if failure.is_denied else StorageError
                    raise kind(location, problem, failure.mend) from error
                delay = next(delays, None)
                if delay is None or time.monotonic() + delay > no_more:
                    problem = (
                        f"could not be {done} after {tries} {'try' if tries == 1 else 'tries'} in "
                        f"{time.monotonic() - began:.0f} s: {failure.reason}"
                    )
                    raise StorageDownError(location, problem, failure.mend) from error
            self._sleep(delay)
            tries += 1


# A file system of fsspec, which has no types.
def _file_system(location: ObjectLocation) -> Any:
    _, package = DRIVERS[location.scheme]
    try:
        return open_file_system(
            location.scheme, connect_s=_CONNECT_TIMEOUT_S, read_s=_READ_TIMEOUT_S
        )
    except ImportError:
        raise StorageError(
            location.url, f"needs the package {package}", f"install it: pip install {package}"
        ) from None
    except UnheldDriverError:
        problem = f"is not read: the {package} here would follow a redirect to any address"
        raise StorageError(location.url, problem, f"install a {package} of 2026") from None
