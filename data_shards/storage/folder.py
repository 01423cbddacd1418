"""Folders of files, on disk or in an object store, read and written in the same words.

A location is a path, or a URL such as s3://bucket/train; what a URL needs is imported when the
first one is opened.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from data_shards.storage.local_folder import LocalFolder
from data_shards.storage.location import is_url
from data_shards.storage.retries import DEFAULT_POLICY, RetryPolicy


class Folder(Protocol):
    """The files of one folder by name; a name may lie in a folder below, with a `/`.

    Every method raises FileNotFoundError where a file must be and is not, and StorageError for
    anything else; of those StorageDownError where trying again later may help, and
    StorageDeniedError where a store does not let in who asks.
    """

    @property
    def location(self) -> str:
        """Path or URL, to be shown; never holds credentials."""
        ...

    def at(self, name: str) -> str:
        """Return the location of a file, to be shown."""
        ...

    def read_bytes(self, name: str, max_bytes: int) -> bytes:
        """Read a whole file; StorageError if it holds more than `max_bytes`."""
        ...

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes at `offset`; StorageError if the file ends before."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it as a stream; it can seek."""
        ...

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        ...

    def names(self) -> Sequence[str]:
        """List the files in the folder itself, sorted; none where there is no such folder."""
        ...

    def put(self, path: Path, name: str) -> None:
        """Copy a local file here; the name shows nothing, or what was there, until it is whole."""
        ...

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write a small file here, as `put` does."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        ...


def open_folder(location: str | Path, policy: RetryPolicy = DEFAULT_POLICY) -> Folder:
    """Open a folder by its path or URL, which need not exist; nothing is asked of a store yet.

    Raises StorageError for a URL of an unknown kind, one with credentials or other things that
    have no place in it, or one whose driver is not installed.
    """
    if not is_url(location):
        return LocalFolder(Path(location))
    # Loaders of local shards, which must start at once, shall not wait for fsspec.
    from data_shards.storage.object_folder import ObjectFolder  # noqa: PLC0415

    return ObjectFolder(location, policy)
