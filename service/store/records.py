"""What the store gives out: frozen records, made from rows in this one place."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import Row

from service.events import JobEventData
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import TERMINAL, Desired, Status

Accelerator = Literal["cpu", "gpu"]
_event_data: TypeAdapter[JobEventData] = TypeAdapter(JobEventData)


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job as it stands."""

    seq: int
    id: str
    spec: JobSpec
    status: Status
    desired: Desired
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    num_failures: int
    reason: Reason | None
    """Why the newest attempt failed, or the job did."""
    message: str | None
    """For people: why it waits, what failed."""
    created_at: datetime
    status_since: datetime
    started_at: datetime | None
    """When the first attempt was admitted."""
    finished_at: datetime | None
    retry_at: datetime | None
    progress: Progress | None
    evaluation: Evaluated | None

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in TERMINAL

    @property
    def told(self) -> Desired:
        """What its attempt is told to do: a pause once begun is finished before a resume."""
        if self.desired is Desired.RUN and self.status is Status.PAUSING:
            return Desired.PAUSE
        return self.desired


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt of a job."""

    job_id: str
    number: int
    token_sha256: str | None
    """None until the attempt is told its token."""
    accelerator: Accelerator
    resume_from: str | None
    created_at: datetime
    submitted_at: datetime | None
    """When Ray accepted it; None: not known to have."""
    ended_at: datetime | None
    outcome: Outcome | None
    worker_pids: tuple[int, ...]
    """Process of each replica, by rank; empty until it has reported."""
    events_through: int
    """Events stored without a gap; above 0 once it has reported."""

    @property
    def submission_id(self) -> str:
        """Ray's name for it."""
        return f"{self.job_id}-{self.number}"


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """One event of a job, numbered from 1 within it."""

    number: int
    at: datetime
    attempt: int | None
    data: JobEventData


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """A checkpoint as its attempt reported it."""

    attempt: int
    step: int
    epoch: float
    saved_at: datetime
    path: str
    size_bytes: int
    weights_sha256: str
    top1: float | None


def job_of(row: Row[Any]) -> JobRecord:
    """Make a job of a row of `jobs`."""
    values = dict(row._mapping)
    progress, evaluation, reason = (
        values.pop("progress"),
        values.pop("evaluation"),
        values.pop("reason"),
    )
    return JobRecord(
        spec=JobSpec.model_validate(values.pop("spec")),
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
