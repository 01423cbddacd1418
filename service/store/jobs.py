"""Reading jobs: one that cannot be read is told of, and hides no other."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    String,
    bindparam,
    case,
    cast,
    insert,
    select,
    update,
)
from sqlalchemy.exc import NoResultFound

from service.access.caller import EVERYONE, Caller
from service.jobs.records import JobRecord, UnreadableJob
from service.store.dialects import IsJson
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.ownership import audience, visible_to
from service.store.rows import STORED_JOBS, job_of
from service.store.tables import jobs, labels
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

# What columns and records raise where a value is not what this release writes.
UNREADABLE = (ValueError, TypeError)
_PROBLEM_CHARACTERS = 500


def add_job(
    connection: Connection,
    job_id: str,
    spec: JobSpec,
    now: datetime,
    *,
    owner: str | None,
    private: bool,
    plan: Mapping[str, Any] | None,
    cloned_from: str | None,
) -> None:
    """Write a job that waits for its first attempt."""
    connection.execute(
        insert(jobs).values(
            id=job_id,
            owner=owner,
            private=private,
            spec=spec.model_dump(mode="json"),
            plan=plan,
            cloned_from=cloned_from,
            status=Status.QUEUED,
            desired=Desired.RUN,
            created_at=now,
            status_since=now,
        )
    )
    add_labels(connection, job_id, spec.labels)


def add_labels(connection: Connection, job_id: str, labelled: Mapping[str, str]) -> None:
    """Write the labels of a job that has none yet, to be found by."""
    if labelled:
        seq = connection.execute(select(jobs.c.seq).where(jobs.c.id == job_id)).scalar_one()
        rows = [
            {"job_id": job_id, "key": key, "value": value, "job_seq": seq}
            for key, value in labelled.items()
        ]
        connection.execute(insert(labels), rows)


def write_spec(connection: Connection, job_id: str, spec: JobSpec) -> None:
    """Replace a job's spec, whose row must be locked."""
    document = spec.model_dump(mode="json")
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(spec=document, spec_version=jobs.c.spec_version + 1)
    )


def read_job(
    connection: Connection, job_id: str, *, seen_by: Caller = EVERYONE, lock: bool = False
) -> JobRecord:
    """Return the job; raise JobNotFoundError or UnreadableJobError.

    `lock`: nobody else changes it, or what belongs to it, until this transaction ends.
    """
    query = _one_job(audience(seen_by), lock=lock)
    try:
        return job_of(connection.execute(query, {"job_id": job_id}).one())
    except NoResultFound:
        raise JobNotFoundError(job_id) from None
    except UNREADABLE as error:
        raise UnreadableJobError(job_id, problem_of(error)) from error


# To make a statement takes longer than to ask it; it is another for each owner.
@lru_cache(maxsize=256)
def _one_job(told: Caller, *, lock: bool) -> Select[Any]:
    query = STORED_JOBS.where(jobs.c.id == bindparam("job_id"), visible_to(told))
    # Others may refer to the row meanwhile, as every row that belongs to the job does.
    return query.with_for_update(key_share=True) if lock else query


def read_planned_speeds(connection: Connection, job_ids: Collection[str]) -> Mapping[str, str]:
    """Return the speeds in the plans of the jobs, as JSON, of those that have one."""
    speed = cast(case((IsJson(jobs.c.plan), jobs.c.plan["speed"])), String)
    query = select(jobs.c.id, speed).where(jobs.c.id.in_(job_ids))
    found = connection.execute(query)
    return {job_id: document for job_id, document in found if document not in {None, "null"}}


def known_jobs(connection: Connection, job_ids: Collection[str]) -> frozenset[str]:
    """Return which of the ids are of jobs, alive or ended."""
    query = select(jobs.c.id).where(jobs.c.id.in_(job_ids))
    return frozenset(connection.execute(query).scalars())


def read_jobs(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> Sequence[JobRecord | UnreadableJob]:
    """Return what a query of STORED_JOBS finds, asked with values, in its order."""
    try:
        return readable_jobs(connection, query, values)
    except UNREADABLE:
        ids = query.with_only_columns(jobs.c.seq, jobs.c.id)
        found = connection.execute(ids, values).all()
        return [_read(connection, row.seq, row.id) for row in found]


def readable_jobs(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> list[JobRecord]:
    """Return what a query of STORED_JOBS finds, in its order, by one statement.

    Raises one of UNREADABLE where any of them cannot be read.
    """
    return [job_of(row) for row in connection.execute(query, values).all()]


def _read(connection: Connection, seq: int, job_id: str) -> JobRecord | UnreadableJob:
    try:
        return job_of(connection.execute(STORED_JOBS.where(jobs.c.seq == seq)).one())
    except UNREADABLE as error:
        return UnreadableJob(seq=seq, id=job_id, problem=problem_of(error))


def problem_of(error: Exception) -> str:
    """Say what is wrong with what is stored of a job, in a line."""
    return " ".join(str(error).split())[:_PROBLEM_CHARACTERS]
