"""A job with what is shown beside it, by one statement: so it is all of one moment."""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam

from service.access.caller import EVERYONE, Caller
from service.jobs.records import AttemptRecord, JobRecord
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.jobs import UNREADABLE, problem_of
from service.store.ownership import audience, visible_to
from service.store.rows import JOB_WITH_ATTEMPTS, attempt_of_job, job_of
from service.store.tables import jobs


class Detail(NamedTuple):
    """What is stored of a job."""

    job: JobRecord
    attempts: list[AttemptRecord]
    """In order."""
    plan: str | None
    """What was foreseen when it was accepted, as JSON."""


def read_detail(connection: Connection, job_id: str, *, seen_by: Caller = EVERYONE) -> Detail:
    """Return the job and its attempts; raise JobNotFoundError or UnreadableJobError."""
    query = _one_job(audience(seen_by))
    try:
        rows = connection.execute(query, {"job_id": job_id}).all()
        job = job_of(rows[0]) if rows else None
    except UNREADABLE as error:
        raise UnreadableJobError(job_id, problem_of(error)) from error
    if job is None:
        raise JobNotFoundError(job_id)
    found = [attempt for row in rows if (attempt := attempt_of_job(row)) is not None]
    return Detail(job=job, attempts=found, plan=rows[0].plan)


# To make a statement takes longer than to ask it; it is another for each owner.
@lru_cache(maxsize=256)
def _one_job(told: Caller) -> Select[Any]:
    return JOB_WITH_ATTEMPTS.where(jobs.c.id == bindparam("job_id"), visible_to(told))
