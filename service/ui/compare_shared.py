"""What is read of jobs to compare them, once for all who look.

What each viewer is shown of it is theirs: whether a job is, is asked anew at each look.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import Connection

from service.api.present import read_report
from service.control_plane import ControlPlane
from service.jobs.history import History, Series
from service.jobs.records import JobRecord
from service.store.planned import read_planned_samples
from service.store.points import read_history
from service.ui.recent import RecentOf
from trainer.contract.report import Report
from trainer.contract.status import Status

SERIES: tuple[Series, ...] = ("loss", "learning_rate", "images_per_second")
# As many as a chart has room for. Every point of a job is gone through for them.
MAX_POINTS = 300
# As a job's page shows them.
LOOK_EVERY_S = 5.0
# Assumed: more jobs than are compared at a time.
_MAX_JOBS = 64


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What the curves of a job are drawn from."""

    job: JobRecord
    """As it was before the rest was read, which is no older."""
    history: History
    num_samples: int | None
    """Of the set that it goes through, as foreseen; None: it is not known."""
    report: Report | None


class SharedCurves:
    """The curves of the jobs that were compared last; for any thread."""

    def __init__(
        self,
        read: Callable[[JobRecord], Curves],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._lock = Lock()
        self._jobs: dict[str, RecentOf[JobRecord, Curves]] = {}

    def of(self, job: JobRecord) -> Curves:
        """Return a job's, of a few seconds ago at most; of one that has ended, since then."""
        return self._shared(job.id).get(job, is_last=job.is_terminal)

    def _shared(self, job_id: str) -> RecentOf[JobRecord, Curves]:
        with self._lock:
            shared = self._jobs.pop(job_id, None)
            if shared is None:
                shared = RecentOf(self._read, for_s=LOOK_EVERY_S, clock=self._clock)
            while len(self._jobs) >= _MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[job_id] = shared
            return shared


def read_curves(plane: ControlPlane, job: JobRecord) -> Curves:
    """Read a job's from the store and its run directory."""

    def read(connection: Connection) -> tuple[History, int | None]:
        history = read_history(connection, job.id, SERIES, max_points=MAX_POINTS)
        return history, read_planned_samples(connection, job.id)

    history, num_samples = plane.store.read(read)
    has_report = job.status is Status.SUCCEEDED
    return Curves(
        job=job,
        history=history,
        num_samples=num_samples,
        report=read_report(plane.settings.run_root / job.id) if has_report else None,
    )
