"""What was read of jobs that have ended, for all pages that compare them: it stays as it is."""

from threading import Lock

from service.jobs.records import JobRecord
from service.ui.compared import Compared

# Assumed: some hundred points each, of more jobs than are compared at a time.
_MAX_JOBS = 64


class EndedJobs:
    """The last of them; for any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[str, Compared] = {}

    def known(self, job: JobRecord) -> Compared | None:
        """Return what was read of a job as it is; None: nothing was, or it has not ended."""
        known = self._known.get(job.id)
        return known if known is not None and known.job == job else None

    def keep(self, compared: Compared) -> None:
        """Keep what was read of a job, if it has ended."""
        if not compared.job.is_terminal:
            return
        with self._lock:
            self._known.pop(compared.job.id, None)
            while len(self._known) >= _MAX_JOBS:
                del self._known[next(iter(self._known))]
            self._known[compared.job.id] = compared
