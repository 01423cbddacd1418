"""Attempts of the jobs that run, read at once, and how those before them ended."""

from datetime import datetime
from itertools import takewhile

from sqlalchemy import Connection, select

from service.jobs.records import AttemptRecord
from service.store.rows import attempt_of
from service.store.tables import attempts, jobs
from trainer.contract.attempt import Reason
from trainer.contract.status import Status

_RUNNING = (
    select(attempts)
    .join(jobs, (jobs.c.id == attempts.c.job_id) & (jobs.c.attempt == attempts.c.number))
    .where(jobs.c.status == Status.RUNNING, attempts.c.submitted_at.is_not(None))
)


def running_attempts(connection: Connection) -> dict[str, AttemptRecord]:
    """Return, by job, the newest attempts of running jobs, as far as Ray is known to have them.

    None at all if one cannot be read: read one by one, it hinders no other.
    """
    try:
        return {row.job_id: attempt_of(row) for row in connection.execute(_RUNNING).all()}
    except ValueError:
        return {}


def submission_times(connection: Connection) -> dict[str, datetime | None]:
    """Return, by job that starts, when Ray took its attempt; None: it is not known to have."""
    query = (
        select(attempts.c.job_id, attempts.c.submitted_at)
        .join(jobs, (jobs.c.id == attempts.c.job_id) & (jobs.c.attempt == attempts.c.number))
        .where(jobs.c.status == Status.STARTING)
    )
    return {row.job_id: row.submitted_at for row in connection.execute(query)}


# No wait grows for longer.
_MAX_COUNTED = 64


def num_alike(connection: Connection, job_id: str, number: int, reason: Reason) -> int:
    """Count the attempts just before one that ended for that reason, up to 64."""
    reasons = (
        select(attempts.c.outcome["reason"].as_string())
        .where(attempts.c.job_id == job_id, attempts.c.number < number)
        .order_by(attempts.c.number.desc())
        .limit(_MAX_COUNTED)
    )
    ended = connection.execute(reasons).scalars()
    return sum(1 for _ in takewhile(lambda one: one == reason, ended))
