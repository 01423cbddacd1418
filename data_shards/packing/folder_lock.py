"""A folder held against others that would write a set into it."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.errors import PackError
from data_shards.packing.shortage import writing
from data_shards.storage.location import is_url
from data_shards.user_cache import cache_folder

# Assumed: packers whose parent was killed notice after the image at hand, and hold on until then.
ORPHANS_END_S = 10.0
_TRY_AGAIN_S = 0.05


def held_folder(location: str, scratch: Path | None = None) -> Path:
    """Return the folder of this machine that is held for a set: its own, or one for its URL.

    The latter is in `scratch`, by default a folder of the user's cache, and may not exist.
    """
    if not is_url(location):
        return Path(location)
    # Known by the location, so that the next run finds what a killed one left.
    name = hashlib.sha256(location.encode()).hexdigest()[:16]
    return (scratch or cache_folder("packing")) / name


@contextmanager
def locked(folder: Path, what: str, *, wait_s: float = ORPHANS_END_S) -> Iterator[int]:
    """Hold a folder while a set is written into `what`.

    Yields a descriptor for child processes to inherit: the lock goes with the last process that
    has it. Raises PackError if another process holds it for longer than the packers of a killed
    run may.
    """
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, what, time.monotonic() + wait_s)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, what: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise PackError(
                    f"another process is packing into {what}, or indexing it; wait for it"
                ) from None
            time.sleep(_TRY_AGAIN_S)
        else:
            return
