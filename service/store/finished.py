"""Jobs that have succeeded, as far as they tell how fast others will be."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    String,
    and_,
    case,
    cast,
    not_,
    select,
    union_all,
)

from service.access.caller import Ownership
from service.jobs.records import JobRecord
from service.store.dialects import IsJson
from service.store.jobs import read_jobs
from service.store.rows import STORED_JOBS
from service.store.tables import attempts, events, jobs
from trainer.contract.events import Evaluated
from trainer.contract.status import Status

# Assumed: among so many there are enough of a kind. To pass over all that there are takes long.
_MOST_PASSED_OVER = 2_000
# So many evaluations of a job are looked at for some that can be read.
_MOST_EVALUATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """A job that has succeeded, and what its last attempt was given."""

    job: JobRecord
    accelerator: str


def newest_succeeded(
    connection: Connection, limit: int, *, kinds: Collection[str], named_by: Ownership
) -> list[Succeeded]:
    """Return those of these kinds that succeeded, the newest first, that a job may name.

    Without any that cannot be read; `named_by` is the job, as in `may_name`.
    """
    each = [
        select(jobs.c.seq)
        .where(one, jobs.c.status == Status.SUCCEEDED)
        .order_by(jobs.c.seq.desc())
        .limit(_MOST_PASSED_OVER)
        .subquery()
        for one in _may_be_named(named_by)
    ]
    query = (
        STORED_JOBS.where(
            jobs.c.seq.in_(union_all(*(select(one.c.seq) for one in each))),
            _kind(jobs.c.spec).in_(kinds),
        )
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
    """Return what a job's attempts told of their last evaluations, the newest first.

    Without any that cannot be read.
    """
    query = (
        select(cast(events.c.data, String))
        .where(events.c.job_id == job_id, _kind(events.c.data) == "evaluated")
        .order_by(events.c.number.desc())
        .limit(_MOST_EVALUATIONS)
    )
    found = []
    for text in connection.execute(query).scalars():
        with suppress(ValidationError):
            found.append(Evaluated.model_validate_json(text))
    return found[:limit]


def _may_be_named(by: Ownership) -> list[ColumnElement[bool]]:
    """Return conditions of an index each, of which a job that may be named meets one."""
    conditions: list[ColumnElement[bool]] = [not_(jobs.c.private)]
    if by.private:
        conditions.append(and_(jobs.c.private, jobs.c.owner == by.owner))
    return conditions


def _kind(document: Column[Any]) -> ColumnElement[Any]:
    return case((IsJson(document), document["kind"].as_string()))
