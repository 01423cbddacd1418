"""Jobs as the scheduler sees them: who waits, who is at work, and for what."""

from datetime import datetime

from service.jobs.records import JobRecord
from service.scheduling.placement import demand_of
from service.scheduling.queue import ActiveJob, Turn, WaitingJob
from trainer.contract.status import Desired, Status

DRAINS = "waits: the service drains, until an operator ends that with `alexnet undrain`"


def may_start(job: JobRecord, now: datetime) -> bool:
    """Whether its next attempt is due."""
    return waits(job) and (job.retry_at is None or job.retry_at <= now)


def waits(job: JobRecord) -> bool:
    """Whether it is in the queue, if only for when it is tried again."""
    return job.desired is Desired.RUN and job.status in {Status.QUEUED, Status.RETRYING}


def waiting_job(job: JobRecord, accelerator: str) -> WaitingJob:
    """Return a job of the queue as the scheduler sees it."""
    return WaitingJob(
        id=job.id,
        owner=job.owner,
        demand=demand_of(job.spec, accelerator),
        turn=turn_of(job, job.waits_since),
    )


def active_job(job: JobRecord, accelerator: str, now: datetime) -> ActiveJob:
    """Return a job that has an attempt as the scheduler sees it."""
    # It does steps once the attempt has told of one; `advanced_at` is of the newest alone.
    runs = job.status is Status.RUNNING and job.advanced_at is not None
    return ActiveJob(
        id=job.id,
        owner=job.owner,
        demand=demand_of(job.spec, accelerator),
        turn=turn_of(job, now),
        submission_id=f"{job.id}-{job.attempt}",
        is_leaving=job.status not in {Status.STARTING, Status.RUNNING}
        or job.told is not Desired.RUN,
        runs_since=job.status_since.timestamp() if runs else None,
    )


def why_it_waits(job: JobRecord, why: str) -> str:
    """Say why a job waits; where it made room for another, that first."""
    # Which one is not said: it may be private.
    made_room = job.preempted_by is not None
    return f"made room for a job of higher priority; {why}" if made_room else why


def turn_of(job: JobRecord, since: datetime) -> Turn:
    """Return what decides when its turn comes, if it waits since then."""
    return Turn(
        priority=job.spec.priority,
        since=since.timestamp(),
        waited_s=job.waited_s,
        seq=job.seq,
    )
