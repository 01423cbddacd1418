"""Attempts of the jobs that run, read at once."""

from sqlalchemy import Connection, select

from service.jobs.records import AttemptRecord
from service.store.rows import attempt_of
from service.store.tables import attempts, jobs
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
        return {row.job_id: attempt_of(row) for row in connection.execute(_RUNNING)}
    except ValueError:
        return {}
