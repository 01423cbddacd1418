"""Locations: paths of this machine, and URLs of object stores. Pure."""

from pathlib import Path
from typing import NamedTuple, TypeGuard

from data_shards.errors import StorageError

# Schemes, the driver of fsspec for each, and the package that brings it; http is none of them,
# whatever it leads to.
DRIVERS = {
    "s3": ("s3", "s3fs"),
    "gs": ("gs", "gcsfs"),
    "az": ("az", "adlfs"),
}
_KINDS = "a path, or a URL of s3, gs or az"
# What a URL carries besides a name, or escapes, or stands for other names.
_MARKS = frozenset("?#%*[]\\")


class ObjectLocation(NamedTuple):
    """A URL taken apart: SCHEME://PATH, without a slash at the end."""

    scheme: str
    path: str

    @property
    def url(self) -> str:
        """The URL."""
        return f"{self.scheme}://{self.path}"


def is_url(location: str | Path) -> TypeGuard[str]:
    """Tell a URL, of whatever kind and inside whatever other, from a path."""
    return isinstance(location, str) and "://" in location


def parse_url(location: str) -> ObjectLocation:
    """Take a URL of an object store apart. Raises StorageError, which never shows a password."""
    scheme, _, path = location.partition("://")
    # Wherever it stands: a secret may hold a slash, and then looks like a bucket and more.
    if "@" in location or ":" in path.split("/", 1)[0]:
        raise StorageError(
            "a URL",
            "holds credentials, or an @ or : as if it did",
            "leave them out, and give them to the machine in the way of the store's own tools",
        )
    if scheme not in DRIVERS:
        raise StorageError(f"a URL of kind {scheme[:20]!r}", "is not read", f"name {_KINDS}")
    path = path.rstrip("/")
    if problem := _problem(path):
        # What follows is a query, and may be a signature.
        shown = location.partition("?")[0].partition("#")[0]
        raise StorageError(repr(shown), problem, f"name {_KINDS}, as plain as SCHEME://BUCKET/A/B")
    return ObjectLocation(scheme, path)


def _problem(path: str) -> str | None:
    parts = path.split("/")
    if not parts[0]:
        return "names no bucket"
    if {"", ".", ".."} & set(parts):
        return "has a part that is empty, . or .."
    found = next((mark for mark in path if mark in _MARKS or not mark.isprintable()), None)
    return f"holds {found!r}" if found is not None else None
