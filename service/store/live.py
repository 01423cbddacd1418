"""Jobs that have not ended, of which a tick reads again only those that have changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, and_, or_, select, type_coerce
from sqlalchemy.types import NullType

from service.jobs.records import JobRecord, UnreadableJob
from service.store.jobs import UNREADABLE, read_jobs
from service.store.rows import STORED_JOBS, job_of
from service.store.tables import jobs
from trainer.contract.status import TERMINAL

# Statuses of another release are told of too. Before, between and behind those of jobs that have
# ended: these ranges are found by an index, and a NOT IN is not.
_ENDED = sorted(TERMINAL)
_IS_LIVE = or_(
    jobs.c.status < _ENDED[0],
    *(and_(jobs.c.status > one, jobs.c.status < other) for one, other in pairwise(_ENDED)),
    jobs.c.status > _ENDED[-1],
)
# A spec takes long to read, and does not change without its version.
_SHORT = [column for column in STORED_JOBS.selected_columns if column.name != "spec"]
# As the database's driver gives it: neither parsed nor checked, but the same while it is the same.
_STORED = (
    select(jobs.c.id, *(type_coerce(column, NullType()) for column in _SHORT))
    # By themselves, or SQLite would rather go through all jobs, which are in this order already.
    .where(jobs.c.seq.in_(select(jobs.c.seq).where(_IS_LIVE)))
    .order_by(jobs.c.seq)
)
# Behind the id.
_SPEC_VERSION = 1 + [column.name for column in _SHORT].index("spec_version")
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class _Remembered:
    stored: Sequence[Any]
    job: JobRecord

    @property
    def spec_version(self) -> int:
        return int(self.stored[_SPEC_VERSION])


class LiveJobs:
    """What was read of them last; from any thread."""

    def __init__(self) -> None:
        self._remembered: Mapping[str, _Remembered] = {}

    def read(self, connection: Connection) -> list[JobRecord | UnreadableJob]:
        """Return the jobs that have not ended, the oldest first."""
        before = self._remembered
        stored = {row[0]: tuple(row) for row in connection.execute(_STORED).all()}
        changed = {
            job_id
            for job_id, row in stored.items()
            if (known := before.get(job_id)) is None or known.stored != row
        }
        fresh: dict[str, JobRecord | UnreadableJob] = {}
        fresh |= _read_short(connection, {one: before[one] for one in changed & before.keys()})
        fresh |= {job.id: job for job in _read(connection, sorted(changed - fresh.keys()))}
        found: list[JobRecord | UnreadableJob] = []
        remembered: dict[str, _Remembered] = {}
        for job_id, row in stored.items():
            if job_id not in changed:
                remembered[job_id] = before[job_id]
                found.append(before[job_id].job)
            elif (job := fresh.get(job_id)) is not None:
                found.append(job)
                if isinstance(job, JobRecord):
                    # It may be newer than `row` by now: then it is read again next time.
                    remembered[job_id] = _Remembered(stored=row, job=job)
        self._remembered = remembered
        return found


def _read_short(
    connection: Connection, known: Mapping[str, _Remembered]
) -> dict[str, JobRecord | UnreadableJob]:
    """Return those of the jobs whose spec is still the one that is known, and that can be read."""
    found: dict[str, JobRecord | UnreadableJob] = {}
    for some in _portions(sorted(known)):
        try:
            rows = connection.execute(select(*_SHORT).where(jobs.c.id.in_(some), _IS_LIVE)).all()
            found |= {
                row.id: job_of(row, spec=known[row.id].job.spec)
                for row in rows
                if row.spec_version == known[row.id].spec_version
            }
        except UNREADABLE:
            # One of them; which, and why, is told where they are read whole.
            continue
    return found


def _read(connection: Connection, ids: Sequence[str]) -> Iterator[JobRecord | UnreadableJob]:
    for some in _portions(ids):
        yield from read_jobs(connection, STORED_JOBS.where(jobs.c.id.in_(some), _IS_LIVE))


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
