"""Waiting for other processes of the node, which may have been stopped or hang."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from data_shards.errors import StorageDownError

# Locks are mostly held for less than the first; nobody need be quicker than the second.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.02


class Patience:
    """Waits as long as something changes."""

    def __init__(
        self, path: Path, what: str, limit_s: float, *, changed: Callable[[], None]
    ) -> None:
        """`path` is waited for, which `what` says in words; `changed` is told when it changes."""
        self._changed = changed
        self._path = path
        self._what = what
        self._limit_s = limit_s
        self._sign: int | None = None
        self._since = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S

    def wait(self, sign: int) -> None:
        """Wait a moment; StorageDownError if `sign` has been the same for too long."""
        now = time.monotonic()
        if sign != self._sign:
            if self._sign is not None:
                self._changed()
            self._sign, self._since = sign, now
        elif now > self._since + self._limit_s:
            raise StorageDownError(
                str(self._path),
                f"was waited for {self._limit_s:.0f} s, in which {self._what}",
                "find the process that holds it, stopped or hung: fuser names it",
            )
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def lock_or_give_up(
    descriptor: int, path: Path, limit_s: float, *, changed: Callable[[], None]
) -> None:
    """Take the lock of an open file, whose holder must write to it now and then.

    `changed` is told when it does. Raises StorageDownError where the lock is held and nothing is
    written for too long.
    """
    patience = Patience(path, "its holder did nothing", limit_s, changed=changed)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            patience.wait(os.fstat(descriptor).st_mtime_ns)
        else:
            return
