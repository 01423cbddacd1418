"""How much room run directories take: measured now and then, since each file is looked at."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# Assumed: a run grows by a checkpoint or two in this time.
MEASURED_FOR_S = 60.0


@dataclass(frozen=True, kw_only=True)
class _Measured:
    size_bytes: int
    at_s: float


class DiskMeter:
    """Measures the run directories of one run root."""

    def __init__(self, run_root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_root = run_root
        self._clock = clock
        self._measured: dict[str, _Measured] = {}
        self._lock = threading.Lock()

    def size_bytes(self, job_ids: Iterable[str]) -> int:
        """Return how much the files of these jobs take, as of a minute ago or later."""
        return sum(self._of(job_id) for job_id in job_ids)

    def _of(self, job_id: str) -> int:
        now_s = self._clock()
        with self._lock:
            known = self._measured.get(job_id)
        if known is not None and now_s - known.at_s < MEASURED_FOR_S:
            return known.size_bytes
        size = folder_bytes(self._run_root / job_id)
        with self._lock:
            self._measured[job_id] = _Measured(size_bytes=size, at_s=now_s)
            # What was not asked for in a while is of jobs that are gone, for all that is known.
            for other, measured in list(self._measured.items()):
                if now_s - measured.at_s >= MEASURED_FOR_S:
                    del self._measured[other]
        return size


def folder_bytes(folder: Path) -> int:
    """Return what the files below a folder hold, each counted once, whatever links lead to it.

    What cannot be read, or is gone by now, counts nothing.
    """
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(parent) / name).lstat()
            except OSError:
                continue
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())
