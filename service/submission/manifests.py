"""Manifests of the data that requests name, on disk or in an object store."""

import errno
import threading
from pathlib import Path
from typing import Any

from fsspec.asyn import sync

from data_shards.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    load_manifest,
    parse_manifest,
)
from data_shards.storage.failure import failure_of
from data_shards.storage.file_system import open_file_system
from data_shards.storage.location import is_url

# A request waits for this: seconds to connect, between two packets, and for the whole manifest.
_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 5
_DEADLINE_S = 10.0
# Requests share a pool of 40 threads, most of which a store that hangs must leave to others.
_AT_ONCE = 4
_WAIT_S = 1.0
_slots = threading.BoundedSemaphore(_AT_ONCE)


class StoreBusyError(RuntimeError):
    """As many manifests are being read from object stores as may be at once."""

    def __init__(self) -> None:
        super().__init__(
            f"{_AT_ONCE} manifests are being read from object stores, and none is done; try again"
        )


def read_manifest(file: str, *, deadline_s: float = _DEADLINE_S) -> Manifest:
    """Read a manifest by the true path, or the URL, of its file; blocks.

    Raises ManifestError; StoreBusyError where others wait for object stores already.
    """
    return _fetch(file, deadline_s) if is_url(file) else load_manifest(Path(file))


def stored_sizes(url: str, *, deadline_s: float = _DEADLINE_S) -> dict[str, int]:
    """List what lies beside a manifest in an object store: bytes by name; blocks.

    Raises ManifestError; StoreBusyError where others wait for object stores already.
    """
    if not _slots.acquire(timeout=_WAIT_S):
        raise StoreBusyError
    folder = url.rpartition("/")[0]
    try:
        system = open_file_system(
            url.partition("://")[0], connect_s=_CONNECT_TIMEOUT_S, read_s=_READ_TIMEOUT_S
        )
        listed = sync(system.loop, system._ls, folder, detail=True, timeout=deadline_s)
        return {one["name"].rpartition("/")[2]: int(one["size"] or 0) for one in listed}
    # As in _fetch.
    except Exception as error:
        raise ManifestError(f"{folder} cannot be listed: {_reason(error)}") from error
    finally:
        _slots.release()


def _fetch(url: str, deadline_s: float) -> Manifest:
    if not _slots.acquire(timeout=_WAIT_S):
        raise StoreBusyError
    try:
        text = _read(url, deadline_s).decode("utf-8")
    except ManifestError:
        raise
    except FileNotFoundError:
        raise ManifestError(
            f"{url} does not exist; pack the images first: python -m data_shards pack SOURCE OUT"
        ) from None
    # Drivers' own errors have no base in common, and what they say of a password is not shown.
    except Exception as error:
        raise ManifestError(f"{url} cannot be read: {_reason(error)}") from error
    finally:
        _slots.release()
    return parse_manifest(text, url)


def _read(url: str, deadline_s: float) -> bytes:
    system = open_file_system(
        url.partition("://")[0], connect_s=_CONNECT_TIMEOUT_S, read_s=_READ_TIMEOUT_S
    )
    content: bytes = sync(system.loop, _read_whole, system, url, timeout=deadline_s)
    return content


async def _read_whole(system: Any, url: str) -> bytes:
    size = int((await system._info(url))["size"])
    if size > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{url} holds {size} bytes, too many for a manifest; name the manifest.json of a "
            "packed set"
        )
    content: bytes = await system._cat_file(url, start=0, end=size) if size else b""
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "the driver of this kind of object store is not installed on the control plane"
    if failure_of(error).is_denied:
        return "access is denied; give the control plane credentials that may read it"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text; pack the images again"
    name = "too slow" if isinstance(error, TimeoutError) else type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, name)
    return f"the object store does not answer as it should ({name}); submit again when it does"
