"""Which GPUs attempts said that they were given: each says it once, and it is read once."""

from collections.abc import Iterable, Mapping
from threading import Lock

from sqlalchemy import Connection

from service.jobs.records import JobRecord
from service.store.gpu_ids import Attempt, GpuIds, read_gpu_ids

# Assumed: more attempts than hold GPUs at once; a few hundred bytes each.
_MAX_ATTEMPTS = 10_000


class ToldGpus:
    """What the last of them said; for any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: dict[Attempt, GpuIds] = {}

    def read(self, connection: Connection, jobs: Iterable[JobRecord]) -> Mapping[str, GpuIds]:
        """Return, by job, what its newest attempt said, if it has said anything yet."""
        newest = [(job.id, job.attempt) for job in jobs]
        with self._lock:
            told = {attempt: self._told[attempt] for attempt in newest if attempt in self._told}
        due = [attempt[0] for attempt in newest if attempt not in told]
        if due:
            found = read_gpu_ids(connection, due)
            told |= found
            self._keep(found)
        # Of a job whose next attempt began meanwhile, what was read is of that.
        return {attempt[0]: told[attempt] for attempt in newest if attempt in told}

    def _keep(self, found: Mapping[Attempt, GpuIds]) -> None:
        with self._lock:
            self._told |= found
            while len(self._told) > _MAX_ATTEMPTS:
                del self._told[next(iter(self._told))]
