"""How long an attempt may give no sign of life: pure.

Rank 0 gives one every few seconds for as long as its own watchdog does not find that the attempt
hangs (`trainer.attempt.watchdog`), whether steps are taken, a set is evaluated or a checkpoint is
written. So silence means that rank 0 is gone or frozen, or that there is none yet.
"""

from dataclasses import dataclass
from datetime import timedelta

from service.jobs.records import AttemptRecord, JobRecord
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is waited for a sign of life."""

    start: timedelta = timedelta(minutes=15)
    """For the first: from when Ray is to start it."""
    silence: timedelta = timedelta(minutes=2)
    """For the next."""


def overdue(
    job: JobRecord,
    attempt: AttemptRecord,
    *,
    has_begun: bool,
    silent_for: timedelta,
    patience: Patience,
) -> Outcome | None:
    """Return what an attempt comes to that has been silent for so long; None: it is waited for."""
    if job.status is Status.PAUSING and not has_begun:
        # It has no step to finish, and would hear of the pause once it has its devices.
        return Outcome(outcome="paused")
    silent_s = silent_for.total_seconds()
    if not has_begun:
        if silent_for < patience.start:
            return None
        message = (
            f"attempt {attempt.number} gave no sign of life in the {silent_s:,.0f} s since it was "
            "submitted, so it is ended; its log and Ray's dashboard say where it waits"
        )
    elif job.spec.retry.hang_factor is None or silent_for < patience.silence:
        return None
    else:
        # Its first report is of its first step.
        stage = "" if attempt.events_through else " in its start"
        message = (
            f"attempt {attempt.number} gave no sign of life for {silent_s:,.0f} s{stage}, so it is "
            "ended: a process of it is frozen or gone; its log may say more"
        )
    return Outcome(outcome="failed", reason=Reason.HUNG, message=message)
