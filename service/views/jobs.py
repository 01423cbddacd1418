"""What the API answers, as types that the client shares."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.events import JobEventData
from service.views.plans import Plan
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, SecondsByPhase
from trainer.contract.report import Report
from trainer.contract.retention import KeptBecause
from trainer.contract.spec import JobSpec
from trainer.contract.status import TERMINAL, Desired, Status


class View(BaseModel):
    """Frozen; a newer server may say more than this release knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Attempt(View):
    """One try at running the job."""

    number: int
    submission_id: str = Field(description="Ray's name for it.")
    accelerator: str
    resume_from: str | None = Field(description="Checkpoint it began from; null: from the start.")
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    worker_pids: tuple[int, ...] = Field(description="Process of each replica, by rank.")


class LastCheckpoint(View):
    """The checkpoint that was saved last."""

    step: int
    saved_at: datetime


class JobProgress(View):
    """How far a job is. Rates and phases are means since the attempt last told of them."""

    step: int = Field(description="Steps done, of the whole job.")
    planned_steps: int = Field(description="In a calibration, as foreseen by now.")
    fraction: float = Field(ge=0, le=1, description="Share of the planned steps that are done.")
    epoch: float = Field(description="Epochs done, with fraction.")
    loss: float = Field(description="Mean cross-entropy of late, nats.")
    learning_rate: float = Field(description="0 in an evaluation, which learns nothing.")
    images_per_second: float = Field(description="Over all replicas.")
    eta_s: float | None = Field(
        default=None,
        description="Seconds to the end, evaluations with them once one has told how long it "
        "takes; null: unknown, as it is while the job does not run.",
    )
    data_wait_ratio: float = Field(description="Share of rank 0's time spent waiting for batches.")
    phase_seconds: SecondsByPhase = Field(
        default_factory=dict, description="Seconds of a step by phase, of rank 0's host."
    )
    bottleneck: str | None = Field(
        default=None, description="What takes the time of a step, and what to do; for people."
    )
    last_checkpoint: LastCheckpoint | None = Field(
        default=None, description="Null before the first of this release."
    )


class LiveProgress(View):
    """How far a job is now, as the stream tells between numbered events."""

    attempt: int
    progress: JobProgress


class Job(View):
    """A job as it stands."""

    id: str
    name: str
    owner: str | None = Field(
        default=None, description="Whose token submitted it; null where none are asked for."
    )
    private: bool = Field(
        default=False, description="Whether others than its owner and admins are told of it."
    )
    status: Status
    desired: Desired = Field(description="What its owner wants.")
    reason: Reason | None = Field(description="Why the newest attempt failed, or the job did.")
    message: str | None = Field(description="For people: why it waits, what failed.")
    attempt: int = Field(description="Number of the newest attempt; 0 before the first.")
    created_at: datetime
    status_since: datetime
    started_at: datetime | None = Field(description="When the first attempt was admitted.")
    finished_at: datetime | None
    retry_at: datetime | None
    progress: JobProgress | None = Field(description="The latest; null before the first step.")
    evaluation: Evaluated | None = Field(description="The latest validation.")
    run_directory: str
    cloned_from: str | None = Field(
        default=None,
        description="The job whose spec it was made of; null: of none, or of one that is hidden.",
    )
    spec: JobSpec

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in TERMINAL


class JobDetail(Job):
    """A job with its attempts."""

    attempts: tuple[Attempt, ...]
    worker_pids: tuple[int, ...] = Field(description="Of the newest attempt, once it has begun.")
    report: Report | None = Field(description="What came of it, once the job has succeeded.")
    plan: Plan | None = Field(
        default=None, description="What was foreseen when it was accepted; null: by release 0.1."
    )


class JobPage(View):
    """Some jobs, the newest first."""

    jobs: tuple[Job, ...]
    unreadable: tuple[str, ...] = Field(
        default=(),
        description="Ids of jobs of this page that this release cannot read; each says why.",
    )
    next_cursor: str | None = Field(description="Give it as `cursor` for the next; null: no more.")


class Event(View):
    """Something that happened to the job."""

    number: int = Field(description="Counts from 1 within the job; the id in the stream.")
    at: datetime
    attempt: int | None
    data: JobEventData


class EventPage(View):
    """Some events in order."""

    events: tuple[Event, ...]


class Checkpoint(View):
    """A checkpoint that is there, its files of the size they were written with.

    Their digests are compared when it is loaded, not when it is listed.
    """

    attempt: int
    step: int
    epoch: float
    saved_at: datetime
    path: str = Field(description="Folder, relative to the run directory.")
    size_bytes: int
    weights_sha256: str = Field(description="Of model.safetensors.")
    loss: float | None = Field(
        default=None, description="Of training, as last reported before it; null: not known."
    )
    top1: float | None = Field(description="Of the latest evaluation before it.")
    kept_because: tuple[KeptBecause, ...] = Field(
        default=(), description="Why it is not deleted; none: it goes when the next is written."
    )

    @property
    def is_pinned(self) -> bool:
        """Whether it stays until it is unpinned."""
        return KeptBecause.PINNED in self.kept_because


class CheckpointList(View):
    """Every checkpoint of the job's lineage that was kept, the oldest first."""

    checkpoints: tuple[Checkpoint, ...]


class Readiness(View):
    """Whether jobs that are posted here will run."""

    ready: bool
    role: str = Field(description="leader or standby.")
    leader: str
    draining: bool = Field(
        default=False, description="Whether jobs wait until an operator ends the drain."
    )
    reconciler: str = Field(
        default="at work",
        description="at work, or stuck: then no job gets on, and the log says what hangs.",
    )
    ray: str = Field(description="ready, or what is wrong.")
