"""How much room run directories take: measured now and then, since each file is looked at."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

# Assumed: a run grows by a checkpoint or two in this time.
MEASURED_FOR_S = 60.0


@dataclass(frozen=True, kw_only=True)
class _Measured:
    size_bytes: int
    at_s: float


class DiskMeter:
    """Measures the run directories of one run root, each once at a time whoever asks."""

    def __init__(self, run_root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_root = run_root
        self._clock = clock
        self._measured: dict[str, _Measured] = {}
        """The oldest measurement first."""
        self._in_work: dict[str, Future[int]] = {}
        self._lock = threading.Lock()

    def size_bytes(self, job_ids: Iterable[str]) -> int:
        """Return how much the files of these jobs take, as of a minute ago or later."""
        self._forget()
        return sum(self._of(job_id) for job_id in job_ids)

    def _of(self, job_id: str) -> int:
        with self._lock:
            known = self._measured.get(job_id)
            if known is not None and not self._is_old(known):
                return known.size_bytes
            others = self._in_work.get(job_id)
            if others is None:
                own = self._in_work[job_id] = Future[int]()
        return self._measure(job_id, own) if others is None else others.result()

    def _measure(self, job_id: str, result: Future[int]) -> int:
        at_s = self._clock()
        try:
            size = folder_bytes(self._run_root / job_id)
        except BaseException as error:
            with self._lock:
                del self._in_work[job_id]
            result.set_exception(error)
            raise
        with self._lock:
            del self._in_work[job_id]
            # To the end of the order.
            self._measured.pop(job_id, None)
            self._measured[job_id] = _Measured(size_bytes=size, at_s=at_s)
        result.set_result(size)
        return size

    def _forget(self) -> None:
        """Forget what is old: of what is not asked for any more, for all that is known."""
        with self._lock:
            while self._measured and self._is_old(self._measured[next(iter(self._measured))]):
                del self._measured[next(iter(self._measured))]

    def _is_old(self, measured: _Measured) -> bool:
        return self._clock() - measured.at_s >= MEASURED_FOR_S


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
