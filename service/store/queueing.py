"""What the queue writes: why jobs wait, and who makes room for whom."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, or_, update

from service.jobs.records import JobRecord
from service.store.tables import jobs
from trainer.contract.status import Desired, Status


def note_waits(connection: Connection, messages: Mapping[str, str]) -> None:
    """Say why jobs wait, those that still do; no event, since it changes with every other job."""
    if not messages:
        return
    connection.execute(
        update(jobs)
        # Not IN, whose list cannot be written out for many rows at once.
        .where(
            jobs.c.id == bindparam("job"),
            or_(jobs.c.status == Status.QUEUED, jobs.c.status == Status.RETRYING),
        )
        .values(message=bindparam("why")),
        [{"job": job_id, "why": message} for job_id, message in messages.items()],
    )


def make_room(connection: Connection, job: JobRecord, for_job: str) -> bool:
    """Have a running job pause so that another can begin; False: it has changed meanwhile."""
    changed = connection.execute(
        update(jobs)
        .where(
            jobs.c.id == job.id,
            jobs.c.status == Status.RUNNING,
            jobs.c.attempt == job.attempt,
            jobs.c.desired == Desired.RUN,
        )
        .values(preempted_by=for_job)
    )
    return changed.rowcount == 1
