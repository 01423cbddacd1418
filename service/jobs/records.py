"""What is known of jobs: frozen records, which the store makes from its rows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.access.caller import Ownership
from service.jobs.events import JobEventData
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import Evaluated, Progress
from trainer.contract.spec import JobSpec
from trainer.contract.status import TERMINAL, Desired, Status

Accelerator = Literal["cpu", "gpu"]


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
    owner: str | None = None
    """Whose token submitted it; None where no tokens are asked for."""
    private: bool = False
    """Whether others than its owner and admins are told that there is no such job."""
    cloned_from: str | None = None
    checkpoint_step: int | None = None
    """Of the checkpoint that was saved last."""
    checkpoint_at: datetime | None = None
    advanced_at: datetime | None = None
    """When the newest attempt last did a step more, by this service's clock."""
    preempted_by: str | None = None
    """The job of higher priority that it makes room for; it comes back by itself."""
    waited_s: float = 0.0
    """Seconds it has waited for its attempts, before the wait it may be in."""

    @property
    def ownership(self) -> Ownership:
        """Whose it is, and whether others are told of it."""
        return Ownership(owner=self.owner, private=self.private)

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in TERMINAL

    @property
    def told(self) -> Desired:
        """What its attempt is told to do."""
        return what_is_told(self.desired, self.status, makes_room=self.preempted_by is not None)

    @property
    def waits_since(self) -> datetime:
        """Since when it waits for its next attempt, or will."""
        return self.retry_at or self.status_since


def what_is_told(desired: Desired, status: Status, *, makes_room: bool) -> Desired:
    """Return what a job's attempt is told to do: a pause once begun ends before a resume. Pure."""
    if desired is Desired.RUN and (makes_room or status is Status.PAUSING):
        return Desired.PAUSE
    return desired


@dataclass(frozen=True, kw_only=True)
class UnreadableJob:
    """A job of which this release cannot read what is stored: written by another, or damaged."""

    seq: int
    id: str
    problem: str


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
    """How it ended; before that, what it comes to where it is stopped for that."""
    worker_pids: tuple[int, ...]
    """Process of each replica, by rank; empty until it has reported."""
    events_through: int
    """Events stored without a gap; above 0 once it has reported."""
    fence: int = 0
    """Fencing token of the leader that began it."""
    num_gpus: int = 0
    num_cpus: int = 0

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
