"""The processes of a local Ray: finding every one of them, and ending them all."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from service.cluster.processes import session_of

MARK = "ALEXNET_LOCAL_RAY"
# A process that another is just becoming shows no environment for a moment: only several looks in a
# row that find nothing say that there is nothing.
QUIET_LOOKS = 5
LOOK_EVERY_S = 0.05


class RayProcesses:
    """All processes of the Ray in `temp_dir`, by the session they are in or by their environment.

    Neither finds all: drivers begin sessions of their own, and some of Ray's processes write their
    titles over the mark in their environment.
    """

    def __init__(self, temp_dir: str, *, session: int | None) -> None:
        self._temp_dir = temp_dir
        self._session = session

    def __iter__(self) -> Iterator[psutil.Process]:
        """Give those that live now."""
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if self._is_ours(process.pid) and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def wait_gone(self, timeout_s: float, reap: Callable[[], None]) -> bool:
        """Wait until none is left; say whether that came."""
        deadline = time.monotonic() + timeout_s
        while any(True for _ in self):
            reap()
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def kill(self, timeout_s: float, reap: Callable[[], None]) -> bool:
        """Kill them, with what they start meanwhile, until none is left; say whether that came."""
        deadline = time.monotonic() + timeout_s
        quiet_looks = 0
        while quiet_looks < QUIET_LOOKS:
            found = list(self)
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            reap()
            quiet_looks = 0 if found else quiet_looks + 1
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _is_ours(self, pid: int) -> bool:
        if self._session is not None and session_of(pid) == self._session:
            return True
        return is_marked(Path(f"/proc/{pid}/environ").read_bytes(), self._temp_dir)


def is_marked(environment: bytes, temp_dir: str) -> bool:
    """Say whether a process with this /proc/PID/environ names the Ray in `temp_dir`.

    Not by psutil: Ray's processes write their titles over the beginning of their environment, and
    psutil reads no further than the first NUL of what is left.
    """
    return f"{MARK}={temp_dir}".encode() in environment.split(b"\0")
