"""Reading jobs: one that cannot be read is told of, and hides no other."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, select
from sqlalchemy.exc import NoResultFound

from service.jobs.records import JobRecord, UnreadableJob
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.rows import job_of
from service.store.tables import jobs, labels

# What columns and records raise where a value is not what this release writes.
_UNREADABLE = (ValueError, TypeError)
_PROBLEM_CHARACTERS = 500


def has_label(key: str, value: str) -> ColumnElement[bool]:
    """Condition on `jobs` that a job has this label."""
    label = (labels.c.job_id == jobs.c.id) & (labels.c.key == key) & (labels.c.value == value)
    return exists().where(label)


def read_job(connection: Connection, job_id: str, *, lock: bool = False) -> JobRecord:
    """Return the job; raise JobNotFoundError or UnreadableJobError.

    `lock`: nobody else changes it, or what belongs to it, until this transaction ends.
    """
    query = select(jobs).where(jobs.c.id == job_id)
    if lock:
        # Others may refer to the row meanwhile, as every row that belongs to the job does.
        query = query.with_for_update(key_share=True)
    try:
        return job_of(connection.execute(query).one())
    except NoResultFound:
        raise JobNotFoundError(job_id) from None
    except _UNREADABLE as error:
        raise UnreadableJobError(job_id, _problem(error)) from error


def read_jobs(connection: Connection, query: Select[Any]) -> Sequence[JobRecord | UnreadableJob]:
    """Return what a query over the whole of `jobs` finds, in its order."""
    try:
        return [job_of(row) for row in connection.execute(query)]
    except _UNREADABLE:
        found = connection.execute(query.with_only_columns(jobs.c.seq, jobs.c.id)).all()
        return [_read(connection, row.seq, row.id) for row in found]


def _read(connection: Connection, seq: int, job_id: str) -> JobRecord | UnreadableJob:
    try:
        return job_of(connection.execute(select(jobs).where(jobs.c.seq == seq)).one())
    except _UNREADABLE as error:
        return UnreadableJob(seq=seq, id=job_id, problem=_problem(error))


def _problem(error: Exception) -> str:
    return " ".join(str(error).split())[:_PROBLEM_CHARACTERS]
