"""Locations: paths of this machine, and URLs of object stores. Pure."""

import re
from pathlib import Path
from typing import NamedTuple, TypeGuard

from data_shards.errors import StorageError

# Schemes, the driver of fsspec for each, and the package that brings it.
DRIVERS = {
    "s3": ("s3", "s3fs"),
    "gs": ("gs", "gcsfs"),
    "az": ("az", "adlfs"),
    "memory": ("memory", "fsspec"),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_KINDS = "a path, or a URL of s3, gs or az"


class ObjectLocation(NamedTuple):
    """A URL taken apart: SCHEME://PATH, without a slash at the end."""

    scheme: str
    path: str

    @property
    def url(self) -> str:
        """The URL."""
        return f"{self.scheme}://{self.path}"


def is_url(location: str | Path) -> TypeGuard[str]:
    """Tell a URL from a path."""
    return isinstance(location, str) and _SCHEME.match(location) is not None


def parse_url(location: str) -> ObjectLocation:
    """Take a URL of an object store apart. Raises StorageError, which never shows a password."""
    scheme, _, path = location.partition("://")
    if scheme not in DRIVERS:
        raise StorageError(f"a location of kind {scheme}://", "cannot be opened", f"name {_KINDS}")
    bucket = path.split("/", 1)[0]
    if "@" in bucket:
        shown = f"{scheme}://...@{bucket.rpartition('@')[2]}"
        raise StorageError(
            shown,
            "holds credentials",
            "leave them out, and give them to the machine in the way of the store's own tools",
        )
    if problem := _problem(path.rstrip("/")):
        raise StorageError(
            repr(location), problem, f"name {_KINDS}, as plain as SCHEME://BUCKET/A/B"
        )
    return ObjectLocation(scheme, path.rstrip("/"))


def _problem(path: str) -> str | None:
    parts = path.split("/")
    if not parts[0]:
        return "names no bucket"
    if "" in parts or "." in parts or ".." in parts:
        return "has a part that is empty, . or .."
    # What a URL would carry besides a name, or escape: no driver of fsspec reads these as such.
    if found := next((mark for mark in path if mark in "?#%*[]\\" or not mark.isprintable()), None):
        return f"holds {found!r}"
    return None
