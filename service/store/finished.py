"""Jobs that have succeeded, as far as they tell how fast others will be."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from service.jobs.records import JobRecord
from service.store.jobs import read_jobs
from service.store.rows import STORED_JOBS
from service.store.tables import attempts, events, jobs
from trainer.contract.events import Evaluated
from trainer.contract.status import Status


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """A job that has succeeded, and what its last attempt was given."""

    job: JobRecord
    accelerator: str


def newest_succeeded(connection: Connection, limit: int) -> list[Succeeded]:
    """Return those that succeeded, the newest first; without any that cannot be read."""
    query = (
        STORED_JOBS.where(jobs.c.status == Status.SUCCEEDED)
        .order_by(jobs.c.seq.desc())
        .limit(limit)
    )
    found = [job for job in read_jobs(connection, query) if isinstance(job, JobRecord)]
    given = connection.execute(
        select(attempts.c.job_id, attempts.c.number, attempts.c.accelerator).where(
            attempts.c.job_id.in_([job.id for job in found])
        )
    )
    accelerators = {(row.job_id, row.number): row.accelerator for row in given}
    return [
        Succeeded(job=job, accelerator=accelerators[job.id, job.attempt])
        for job in found
        if (job.id, job.attempt) in accelerators
    ]


def newest_evaluations(connection: Connection, job_id: str, limit: int) -> list[Evaluated]:
    """Return what a job's attempts told of their last evaluations, the newest first."""
    query = (
        select(events.c.data)
        .where(events.c.job_id == job_id, events.c.data["kind"].as_string() == "evaluated")
        .order_by(events.c.number.desc())
        .limit(limit)
    )
    return [Evaluated.model_validate(data) for data in connection.execute(query).scalars()]
