"""Rows become records, in this one place."""

from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, ColumnElement, Row, String, cast, select

from service.jobs.events import JobEventData
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from service.store.tables import Document, attempts, jobs
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

_event_data: TypeAdapter[JobEventData] = TypeAdapter(JobEventData)
# The same few are looked at again and again: those that run, and the newest. 11 kB each.
_spec_of = lru_cache(maxsize=2048)(JobSpec.model_validate_json)


def _as_read(column: Column[Any]) -> ColumnElement[Any]:
    # pydantic reads and checks a text in the time that it takes to check what was read before.
    is_document = column.type is Document
    return cast(column, String).label(column.name) if is_document else column


# What `job_of` makes jobs of. A plan is long, and only whoever looks at its job asks for it.
STORED_JOBS = select(*(_as_read(column) for column in jobs.c if column.name != "plan"))
_DETAIL = [*STORED_JOBS.selected_columns, _as_read(jobs.c.plan)]
# A job, its plan, and its attempts in order: a row of each, with the job's in every one.
JOB_WITH_ATTEMPTS = (
    select(*_DETAIL, *(column.label(f"attempt_{column.name}") for column in attempts.c))
    .outerjoin_from(jobs, attempts, attempts.c.job_id == jobs.c.id)
    .order_by(attempts.c.number)
)


def job_of(row: Row[Any], *, spec: JobSpec | None = None) -> JobRecord:
    """Make a job of a row of STORED_JOBS; of one without its spec by that which is given."""
    reason, progress, evaluation = row.reason, row.progress, row.evaluation
    return JobRecord(
        seq=row.seq,
        id=row.id,
        owner=row.owner,
        private=row.private,
        spec=_spec_of(row.spec) if spec is None else spec,
        cloned_from=row.cloned_from,
        status=Status(row.status),
        desired=Desired(row.desired),
        attempt=row.attempt,
        num_failures=row.num_failures,
        reason=None if reason is None else Reason(reason),
        message=row.message,
        created_at=row.created_at,
        status_since=row.status_since,
        started_at=row.started_at,
        finished_at=row.finished_at,
        retry_at=row.retry_at,
        progress=None if progress is None else Progress.model_validate_json(progress),
        evaluation=None if evaluation is None else Evaluated.model_validate_json(evaluation),
        checkpoint_step=row.checkpoint_step,
        checkpoint_at=row.checkpoint_at,
        advanced_at=row.advanced_at,
        preempted_by=row.preempted_by,
        waited_s=row.waited_s,
    )


def attempt_of(row: Row[Any]) -> AttemptRecord:
    """Make an attempt of a row of `attempts`."""
    return _attempt(dict(row._mapping))


def attempt_of_job(row: Row[Any]) -> AttemptRecord | None:
    """Make an attempt of a row of JOB_WITH_ATTEMPTS; None: the job has none."""
    start = len(_DETAIL)
    values = dict(zip(attempts.c.keys(), row[start:], strict=True))
    return None if values["number"] is None else _attempt(values)


def _attempt(values: dict[str, Any]) -> AttemptRecord:
    outcome = values.pop("outcome")
    return AttemptRecord(
        outcome=None if outcome is None else Outcome.model_validate(outcome),
        worker_pids=tuple(values.pop("worker_pids") or ()),
        **values,
    )


def event_of(row: Row[Any]) -> EventRecord:
    """Make an event of a row of `events`."""
    return EventRecord(
        number=row.number,
        at=row.at,
        attempt=row.attempt,
        data=_event_data.validate_python(row.data),
    )


def checkpoint_of(row: Row[Any]) -> CheckpointRecord:
    """Make a checkpoint of a row of `checkpoints`."""
    values = dict(row._mapping)
    del values["job_id"]
    return CheckpointRecord(**values)
