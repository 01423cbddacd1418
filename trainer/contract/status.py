"""The states of a job, and the one table of what may follow what."""

from enum import StrEnum


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    """Accepted and stored; waits until its devices are free. Nothing of it runs."""
    STARTING = "STARTING"
    """An attempt was submitted; no step of it has been reported yet."""
    RUNNING = "RUNNING"
    """The attempt reports steps."""
    PAUSING = "PAUSING"
    """Asked to pause, or past its deadline; the attempt checkpoints at its next step and ends."""
    PAUSED = "PAUSED"
    """Ended at a checkpoint on request; holds no device; resume queues it again."""
    RETRYING = "RETRYING"
    """The attempt failed through no fault of spec or data; the next waits for its time."""
    CANCELLING = "CANCELLING"
    """Asked to cancel; the attempt is being ended."""
    SUCCEEDED = "SUCCEEDED"
    """All planned steps are done, and the report is written."""
    FAILED = "FAILED"
    """Ended by a fault that a retry cannot mend, out of attempts, or at its deadline."""
    CANCELLED = "CANCELLED"
    """Ended on request."""


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

# The others: an index finds a few statuses that are named, and none that are left out.
LIVE = frozenset(Status) - TERMINAL

# Statuses in which an attempt may hold devices.
ACTIVE = frozenset({Status.STARTING, Status.RUNNING, Status.PAUSING, Status.CANCELLING})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.STARTING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    Status.STARTING: frozenset(
        {
            Status.RUNNING,
            Status.PAUSING,
            Status.CANCELLING,
            Status.RETRYING,
            Status.SUCCEEDED,
            Status.FAILED,
        }
    ),
    Status.RUNNING: frozenset(
        {Status.PAUSING, Status.CANCELLING, Status.RETRYING, Status.SUCCEEDED, Status.FAILED}
    ),
    Status.PAUSING: frozenset(
        {
            Status.PAUSED,
            # To make room for another: it goes on by itself.
            Status.QUEUED,
            Status.CANCELLING,
            Status.RETRYING,
            Status.SUCCEEDED,
            Status.FAILED,
        }
    ),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
    Status.RETRYING: frozenset({Status.STARTING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    # An attempt that finished before it heard of the cancel has succeeded.
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class Desired(StrEnum):
    """What the owner of a job wants; the API writes it, the reconciler acts on it."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class IllegalTransitionError(RuntimeError):
    """A status was about to change in a way the table does not know."""

    def __init__(self, before: Status, after: Status) -> None:
        super().__init__(f"a job that is {before} cannot become {after}")


def check_transition(before: Status, after: Status) -> None:
    """Raise IllegalTransitionError unless the table has this change."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(before, after)
