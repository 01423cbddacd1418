"""Processes among which the kernel kills for want of memory: a control group with a limit."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path("/sys/fs/cgroup")
_LIMIT_BYTES = 32 << 20
# Takes memory a page at a time until the process that is named is gone: of those in the group the
# kernel ends the one that holds most, which is a worker and not this.
_HOG = """
import mmap, pathlib, sys
group, stat = pathlib.Path(sys.argv[1]), pathlib.Path("/proc", sys.argv[2], "stat")
(group / "cgroup.procs").write_text("0")
block = mmap.mmap(-1, 1 << 30)
def lives():
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
for place in range(0, len(block), mmap.PAGESIZE):
    if not lives():
        break
    block[place] = 1
"""


class MemoryGroup:
    """A control group (of either version) with 32 MB for what its processes take from now on."""

    def __init__(self) -> None:
        """Raises OSError where this machine lets nobody make one that limits memory."""
        self.is_first_version = (_ROOT / "memory").is_dir()
        self._parent = _ROOT / "memory" if self.is_first_version else _ROOT
        self._group = self._parent / f"alexnet-trial-{time.monotonic_ns()}"
        self._group.mkdir()
        limit = "memory.limit_in_bytes" if self.is_first_version else "memory.max"
        try:
            (self._group / limit).write_text(str(_LIMIT_BYTES))
        except OSError:
            self._group.rmdir()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let what lives in it go on where it came from, and remove it."""
        deadline = time.monotonic() + 10
        while True:
            for pid in (self._group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self._parent / "cgroup.procs").write_text(pid)
            try:
                self._group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def take(self, pids: Iterable[int]) -> None:
        """Have these processes in it; what they hold already is not counted."""
        for pid in pids:
            (self._group / "cgroup.procs").write_text(str(pid))

    def starve(self, pid: int) -> None:
        """Use its memory up until the kernel has killed this process."""
        # Itself it may be killed too, while the other takes its time to be gone.
        hog = [sys.executable, "-c", _HOG, str(self._group), str(pid)]
        subprocess.run(hog, check=False, timeout=60)
