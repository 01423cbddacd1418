"""What becomes of a job: pure decisions over what is known of it. Nothing here does anything."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from service.jobs.records import AttemptRecord, JobRecord
from trainer.contract.attempt import RETRYABLE, Outcome, Reason
from trainer.contract.death import DRIVER_ENDS, driver_death
from trainer.contract.spec import RetrySpec
from trainer.contract.status import ACTIVE, TERMINAL, Desired, Status

# An attempt hears of a cancel in the reply to its next report; after this it is stopped by Ray.
CANCEL_GRACE = timedelta(seconds=15)
# A driver that has written its outcome has nothing left to do but exit.
EXIT_GRACE = timedelta(seconds=30)
# Of an attempt that is over the folder may say that it succeeded: a disk that is away for a while
# is waited for. Assumed: a file server is back by then.
STORAGE_GRACE = timedelta(minutes=5)
# What is waited at least after what never ends a job, which may ask for no waits.
UNCOUNTED_BACKOFF = timedelta(seconds=10)
# At its deadline an attempt is asked to pause, and after this it is stopped by Ray: as long as a
# step and a checkpoint of the largest networks take. Assumed.
DEADLINE_GRACE = timedelta(minutes=2)
# What is added to a wait at most, so that jobs which failed together do not come back together.
JITTER = 0.1


class RayState(StrEnum):
    """What Ray says of an attempt."""

    ABSENT = "absent"
    """It has never heard of it, or has forgotten."""
    ALIVE = "alive"
    """Its driver waits to start or lives; says nothing of its workers."""
    ENDED = "ended"
    """Its driver is gone."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen of the newest attempt: in Ray, and in its folder."""

    ray: RayState | None
    """None: Ray cannot be reached, so nothing is known."""
    ray_message: str | None = None
    exit_code: int | None = None
    """Of its driver; None: it lives, was killed, or Ray does not tell."""
    outcome: Outcome | None = None
    outcome_age: timedelta = timedelta(0)
    has_advanced: bool = False
    """Whether the next would go on from beyond where it began; told where failures were before."""
    storage_trouble: str | None = None
    """For people: why its folder cannot be used, so that there may be more than was seen."""
    storage_trouble_age: timedelta = timedelta(0)
    """How long that has been so since it was over."""
    num_alike: int = 0
    """Attempts just before it that ended as it did; told where that is waited for ever longer."""
    overdue: Outcome | None = None
    """What it comes to that it gave no sign of life for too long (`jobs.silence`); None: it did."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do next; the status may be the present one."""

    status: Status
    reason: Reason | None = None
    message: str | None = None
    """For people; None where the status stays: nothing new is told."""
    retry_at: datetime | None = None
    ended: Outcome | None = None
    """How the newest attempt ended, if it did just now."""
    num_failures: int | None = None
    """Set with `ended`: the failures in a row since a checkpoint was last committed."""
    act: Literal["submit", "stop"] | None = None
    """What to ask of Ray."""


class RefusedError(ValueError):
    """What was asked does not fit the job as it stands; the message says why."""


def check_request(job: JobRecord, desired: Desired) -> None:
    """Raise RefusedError where the job cannot be paused, resumed or cancelled any more."""
    if job.status is Status.CANCELLED and desired is Desired.CANCEL:
        return
    if job.status in TERMINAL:
        raise RefusedError(f"job {job.id} is {job.status}; nothing can change it any more")
    if job.desired is Desired.CANCEL and desired is not Desired.CANCEL:
        raise RefusedError(f"job {job.id} is being cancelled; submit it again to run it")


def decide(
    job: JobRecord, attempt: AttemptRecord | None, seen: Observation, now: datetime
) -> Decision:
    """Compare what is wanted, what is known and what was seen; say what follows."""
    if job.status not in ACTIVE:
        return _decide_idle(job, now)
    assert attempt is not None
    begun = _begin_end(job, seen.outcome, now)
    if begun is not None:
        return begun
    if seen.ray is None:
        return Decision(status=job.status)
    if seen.ray is RayState.ALIVE:
        return _decide_alive(job, attempt, seen, now)
    if seen.ray is RayState.ABSENT and seen.outcome is None and _never_ran(attempt):
        return _decide_unsubmitted(job, seen, now)
    return _decide_ended(job, attempt, seen, now)


def is_past_deadline(job: JobRecord, now: datetime) -> bool:
    """Whether a job should have ended: its time runs from when it was accepted, however it waits.

    What its owner is promised is when it is over, not for how long it computes.
    """
    deadline_s = job.spec.retry.deadline_s
    return deadline_s is not None and now - job.created_at >= timedelta(seconds=deadline_s)


def _deadline_of(job: JobRecord) -> str:
    return (
        f"the job was not done {job.spec.retry.deadline_s:,.0f} s after it was accepted "
        "(retry.deadline_s)"
    )


def _decide_idle(job: JobRecord, now: datetime) -> Decision:
    if job.is_terminal:
        return Decision(status=job.status)
    if job.desired is not Desired.CANCEL and is_past_deadline(job, now):
        message = f"{_deadline_of(job)}; give a copy of it longer, or begin from its checkpoint"
        return Decision(status=Status.FAILED, reason=Reason.DEADLINE, message=message)
    match job.status, job.desired:
        case ((Status.QUEUED | Status.RETRYING | Status.PAUSED), Desired.CANCEL):
            return Decision(status=Status.CANCELLED, reason=job.reason)
        case ((Status.QUEUED | Status.RETRYING), Desired.PAUSE):
            return Decision(status=Status.PAUSED, reason=job.reason)
        case Status.PAUSED, Desired.RUN:
            return Decision(status=Status.QUEUED)
    return Decision(status=job.status)


def _begin_end(job: JobRecord, outcome: Outcome | None, now: datetime) -> Decision | None:
    """Have the attempt end at a wish or at the deadline; None: it is ending, or nobody wants it."""
    begun = _begun_wish(job, outcome)
    if begun is not job.status:
        makes_room = begun is Status.PAUSING and job.preempted_by is not None
        message = "makes room for a job of higher priority" if makes_room else None
        return Decision(status=begun, message=message)
    to_pause = job.status in {Status.STARTING, Status.RUNNING}
    if to_pause and outcome is None and is_past_deadline(job, now):
        message = f"{_deadline_of(job)}; it checkpoints and ends"
        return Decision(status=Status.PAUSING, reason=Reason.DEADLINE, message=message)
    return None


def _begun_wish(job: JobRecord, outcome: Outcome | None) -> Status:
    # The attempt may have obeyed a wish before this was seen of it: the table is walked in order.
    ended_as = None if outcome is None else outcome.outcome
    if job.desired is Desired.CANCEL or ended_as == "cancelled":
        return Status.CANCELLING
    if job.told is Desired.PAUSE or ended_as == "paused":
        return Status.PAUSING
    return job.status


def _decide_alive(
    job: JobRecord, attempt: AttemptRecord, seen: Observation, now: datetime
) -> Decision:
    if job.status is Status.STARTING and attempt.events_through > 0:
        return Decision(status=Status.RUNNING)
    # Before its first report an attempt has no step to finish and nobody to tell.
    cancel_due = job.status is Status.CANCELLING and (
        attempt.events_through == 0 or now - job.status_since >= CANCEL_GRACE
    )
    exit_due = seen.outcome is not None and seen.outcome_age >= EXIT_GRACE
    if seen.overdue is not None and seen.outcome is None:
        return Decision(status=job.status, act="stop", message=seen.overdue.message)
    ends_now = cancel_due or exit_due or _is_forced(job, now)
    return Decision(status=job.status, act="stop" if ends_now else None)


def _is_forced(job: JobRecord, now: datetime) -> bool:
    """Whether an attempt had its time to pause at the job's deadline."""
    return (
        job.status is Status.PAUSING
        and is_past_deadline(job, now)
        and now - job.status_since >= DEADLINE_GRACE
    )


def _never_ran(attempt: AttemptRecord) -> bool:
    return attempt.submitted_at is None and attempt.events_through == 0


def _decide_unsubmitted(job: JobRecord, seen: Observation, now: datetime) -> Decision:
    match job.status:
        case Status.CANCELLING:
            return Decision(status=Status.CANCELLED, ended=Outcome(outcome="cancelled"))
        case Status.PAUSING:
            return Decision(status=_paused(job), ended=Outcome(outcome="paused"))
    if seen.overdue is not None:
        # Submitted, it would only be stopped.
        return _decide_failed(job, seen.overdue, seen, now)
    if seen.storage_trouble is not None:
        return _decide_unseen(job, seen.storage_trouble, seen, now)
    return Decision(status=job.status, act="submit")


def _decide_unseen(job: JobRecord, trouble: str, seen: Observation, now: datetime) -> Decision:
    if seen.storage_trouble_age < STORAGE_GRACE:
        return Decision(status=job.status, message=trouble)
    outcome = Outcome(outcome="failed", reason=Reason.NO_STORAGE, message=trouble)
    return _decide_failed(job, outcome, seen, now)


def _outcome_of(
    job: JobRecord, attempt: AttemptRecord, seen: Observation, now: datetime
) -> Outcome:
    told = seen.outcome
    if seen.overdue is not None and (told is None or told.reason is Reason.CRASHED):
        # Whatever it said when it was stopped for it.
        told = seen.overdue
    if told is not None and job.status is not Status.CANCELLING:
        return told
    if job.status is Status.CANCELLING:
        # It was stopped before it could say so.
        return seen.outcome or Outcome(outcome="cancelled")
    if _is_forced(job, now):
        return Outcome(outcome="failed", reason=Reason.DEADLINE, message=_deadline_of(job))
    if seen.ray is RayState.ABSENT:
        return Outcome(
            outcome="failed",
            reason=Reason.LOST,
            message=f"Ray no longer knows attempt {attempt.number}",
        )
    message = seen.ray_message or f"the driver of attempt {attempt.number} died"
    return driver_death(message, seen.exit_code)


def _decide_ended(
    job: JobRecord, attempt: AttemptRecord, seen: Observation, now: datetime
) -> Decision:
    # What was asked needs no folder.
    if job.status is not Status.CANCELLING and seen.outcome is None and seen.storage_trouble:
        return _decide_unseen(job, seen.storage_trouble, seen, now)
    outcome = _outcome_of(job, attempt, seen, now)
    if outcome.outcome == "succeeded":
        status = Status.SUCCEEDED
    elif job.status is Status.CANCELLING:
        status = Status.CANCELLED
    elif outcome.outcome == "paused":
        status = _paused(job)
    else:
        assert outcome.outcome == "failed"
        return _decide_failed(job, outcome, seen, now)
    return Decision(status=status, ended=outcome, num_failures=_failures_before(job, seen))


def _paused(job: JobRecord) -> Status:
    """Return where a job stands whose attempt has paused: one that made room comes back."""
    comes_back = job.preempted_by is not None and job.desired is Desired.RUN
    return Status.QUEUED if comes_back else Status.PAUSED


def _failures_before(job: JobRecord, seen: Observation) -> int:
    # A job that gets on, however often its machines fail it, is never given up.
    return 0 if seen.has_advanced else job.num_failures


def _decide_failed(job: JobRecord, outcome: Outcome, seen: Observation, now: datetime) -> Decision:
    num_failures = _failures_before(job, seen)
    reason = outcome.reason or Reason.CRASHED
    message = outcome.message or f"attempt {job.attempt} failed: {reason}"
    status, retry_at = Status.FAILED, None
    if reason is Reason.NO_STORAGE or DRIVER_ENDS.get(seen.exit_code) is reason:
        # Nothing is wrong with the job: only its deadline bounds how often it tries.
        wait = max(backoff(job.spec.retry, seen.num_alike + 1), UNCOUNTED_BACKOFF)
        status = Status.RETRYING
        retry_at = now + jittered(wait, f"{job.id}-{job.attempt}")
    elif reason is Reason.INTERRUPTED:
        status, retry_at = Status.RETRYING, now
    else:
        num_failures += 1
        if reason in RETRYABLE and num_failures < job.spec.retry.max_attempts:
            wait = jittered(backoff(job.spec.retry, num_failures), f"{job.id}-{job.attempt}")
            status, retry_at = Status.RETRYING, now + wait
        elif reason in RETRYABLE:
            message = f"gave up after {num_failures} failed attempts in a row, the last: {message}"
    return Decision(
        status=status,
        reason=reason,
        message=message,
        retry_at=retry_at,
        ended=outcome,
        num_failures=num_failures,
    )


def backoff(retry: RetrySpec, num_failures: int) -> timedelta:
    """Wait after the given number of failures: backoff_s, doubled each time, up to the longest."""
    # 2^63 seconds are longer than any wait the spec allows, and a float holds them.
    doublings = min(num_failures - 1, 63)
    return timedelta(seconds=min(retry.backoff_s * 2.0**doublings, retry.max_backoff_s))


def jittered(wait: timedelta, seed: str) -> timedelta:
    """Return a wait that is longer by up to a tenth: always the same of the same seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return wait * (1 + JITTER * int.from_bytes(digest[:4]) / 2**32)
