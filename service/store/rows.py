"""Rows become records, in this one place."""

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from service.jobs.events import JobEventData
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import Desired, Status

_event_data: TypeAdapter[JobEventData] = TypeAdapter(JobEventData)


def job_of(row: Row[Any], *, known: JobRecord | None = None) -> JobRecord:
    """Make a job of a row of `jobs`; of one without spec and plan by those that are `known`."""
    values = dict(row._mapping)
    spec = JobSpec.model_validate(values.pop("spec")) if known is None else known.spec
    if known is not None:
        values["plan"] = known.plan
    # The store's own affair.
    del values["spec_version"], values["last_event"]
    progress, evaluation, reason = (
        values.pop("progress"),
        values.pop("evaluation"),
        values.pop("reason"),
    )
    return JobRecord(
        spec=spec,
        status=Status(values.pop("status")),
        desired=Desired(values.pop("desired")),
        reason=None if reason is None else Reason(reason),
        progress=None if progress is None else Progress.model_validate(progress),
        evaluation=None if evaluation is None else Evaluated.model_validate(evaluation),
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
