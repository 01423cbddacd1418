"""What the table says of a job. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from service.access.caller import Caller, Role
from service.jobs.progress import fraction, seconds_left
from service.jobs.records import JobRecord
from service.ui.states import ShownState, shown
from trainer.contract.status import Desired, Status


@dataclass(frozen=True, kw_only=True)
class Acts:
    """What a caller may do with a job as it stands."""

    pause: bool
    resume: bool
    cancel: bool
    clone: bool

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return self.pause or self.resume or self.cancel or self.clone


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One row."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: ShownState
    note: str
    """For people: what it waits for, what failed, what was asked of it."""
    fraction: float | None
    """None before the first step."""
    step: int | None
    planned_steps: int | None
    epoch: float | None
    images_per_second: float | None
    """None of a job that does not run."""
    eta_s: float | None
    top1: float | None
    """Share right of the latest validation."""
    loss: float | None
    spark: str
    owner: str | None
    private: bool
    priority: int
    created_at: datetime
    is_live: bool
    acts: Acts


def job_row(job: JobRecord, caller: Caller, spark: str = "") -> JobRow:
    """Say of a job what fits into a row."""
    told = job.progress
    runs = job.status is Status.RUNNING
    return JobRow(
        id=job.id,
        name=job.spec.name,
        labels=job.spec.labels,
        state=shown(job.status),
        note=_note(job),
        fraction=None if told is None else fraction(told),
        step=None if told is None else told.step,
        planned_steps=None if told is None else told.planned_steps,
        epoch=None if told is None else told.epoch,
        images_per_second=told.images_per_second if runs and told is not None else None,
        eta_s=seconds_left(job.spec, told, job.evaluation) if runs and told is not None else None,
        top1=None if job.evaluation is None else job.evaluation.top1,
        loss=None if told is None else told.loss,
        spark=spark,
        owner=job.owner,
        private=job.private,
        priority=job.spec.priority,
        created_at=job.created_at,
        is_live=not job.is_terminal,
        acts=acts_on(job, caller),
    )


def acts_on(job: JobRecord, caller: Caller) -> Acts:
    """Return what a caller may ask of a job now."""
    may = caller.may_change(job.ownership)
    is_open = may and not job.is_terminal and job.desired is not Desired.CANCEL
    return Acts(
        pause=is_open and job.desired is Desired.RUN and job.status is not Status.PAUSED,
        resume=is_open and job.desired is Desired.PAUSE,
        cancel=is_open,
        clone=caller.role.covers(Role.SUBMITTER),
    )


def _note(job: JobRecord) -> str:
    if job.message and job.status is not Status.SUCCEEDED:
        return job.message
    if job.is_terminal:
        return ""
    if job.desired is Desired.CANCEL and job.status is not Status.CANCELLING:
        return "to be cancelled"
    if job.desired is Desired.PAUSE and job.status not in {Status.PAUSING, Status.PAUSED}:
        return "to be paused"
    return ""
