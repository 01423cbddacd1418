"""Rows become records, in this one place."""

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, ColumnElement, Row, String, cast, select

from service.jobs.events import JobEventData
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from service.store.tables import Document, jobs
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

_event_data: TypeAdapter[JobEventData] = TypeAdapter(JobEventData)


def _as_read(column: Column[Any]) -> ColumnElement[Any]:
    # pydantic reads and checks a text in the time that it takes to check what was read before.
    is_document = column.type is Document
    return cast(column, String).label(column.name) if is_document else column


# What `job_of` makes jobs of. A plan is long, and only whoever looks at its job asks for it.
STORED_JOBS = select(*(_as_read(column) for column in jobs.c if column.name != "plan"))


def job_of(row: Row[Any], *, spec: JobSpec | None = None) -> JobRecord:
    """Make a job of a row of STORED_JOBS; of one without its spec by that which is given."""
    values = row._asdict()
    text = values.pop("spec", None)
    # The store's own affair.
    del values["spec_version"], values["last_event"]
    progress, evaluation, reason = (
        values.pop("progress"),
        values.pop("evaluation"),
        values.pop("reason"),
    )
    return JobRecord(
        spec=JobSpec.model_validate_json(text) if spec is None else spec,
        status=Status(values.pop("status")),
        desired=Desired(values.pop("desired")),
        reason=None if reason is None else Reason(reason),
        progress=None if progress is None else Progress.model_validate_json(progress),
        evaluation=None if evaluation is None else Evaluated.model_validate_json(evaluation),
        **values,
    )


def attempt_of(row: Row[Any]) -> AttemptRecord:
    """Make an attempt of a row of `attempts`."""
    values = dict(row._mapping)
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
