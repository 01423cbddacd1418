"""A folder held against other packers."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.errors import PackError
from data_shards.packing.shortage import writing

# Assumed: packers whose parent was killed notice after the image at hand, and hold on until then.
ORPHANS_END_S = 10.0
_TRY_AGAIN_S = 0.05


@contextmanager
def locked(folder: Path, what: str, *, wait_s: float = ORPHANS_END_S) -> Iterator[int]:
    """Hold a folder while packing into `what`; yield a descriptor for child processes to inherit.

    The lock goes with the last process that has the descriptor. Raises PackError if another
    process holds it for longer than the packers of a killed run may.
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
                raise PackError(f"another process is packing into {what}; wait for it") from None
            time.sleep(_TRY_AGAIN_S)
        else:
            return
