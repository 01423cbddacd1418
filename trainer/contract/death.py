"""What it means that a process is gone without a word of its own: told by what Ray says of it."""

import re
from collections.abc import Mapping

from trainer.contract.attempt import Outcome, Reason

MORE_MEMORY = (
    "set optim.micro_batch_size lower, or data.num_loader_processes, or train on a larger machine"
)
# Of Ray 2.60: its memory monitor's words. Not those by which it guesses after any death, that
# "the process was killed by the OOM killer" among other causes.
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|running low on memory|killed due to (the node running low on )?memory"
    r"|due to memory pressure|exceeded the memory usage threshold",
    re.IGNORECASE,
)
_LOST_NODE = re.compile(
    r"NodeDiedError|node (it was running on )?(has |was |is )?(died|dead|terminated|preempted)"
    r"|node failure|owner's node has crashed|has been marked dead because the detector",
    re.IGNORECASE,
)
# Ray's own limit is ten minutes, at whatever a worker was.
_FROZEN = re.compile(r"worker health check has been hanging", re.IGNORECASE)
# With what a driver exits that is not the first of its attempt, or cannot use its folder. What it
# printed proves nothing: that may be any words at all.
SECOND_DRIVER, NO_FOLDER = 81, 82
DRIVER_ENDS: Mapping[int | None, Reason] = {
    SECOND_DRIVER: Reason.INTERRUPTED,
    NO_FOLDER: Reason.NO_STORAGE,
}
_MEANINGS = {
    SECOND_DRIVER: "Ray lost sight of the attempt and was given it twice, so another follows",
    NO_FOLDER: "the attempt's folder cannot be used",
}


def driver_death(message: str, exit_code: int | None) -> Outcome:
    """Return what an attempt came to whose driver ended so; `exit_code` None: it is not known."""
    if exit_code in _MEANINGS:
        return Outcome(
            outcome="failed",
            reason=DRIVER_ENDS[exit_code],
            message=f"{_MEANINGS[exit_code]}; this counts as no failure ({message})",
        )
    return death(message)


def death(message: str, *, num_oom_kills: int = 0) -> Outcome:
    """Return what a process came to of which Ray says `message`.

    `num_oom_kills`: processes that the kernel killed just before for want of memory, where it died.
    """
    # Whose node is lost did not die of what this one killed.
    if _LOST_NODE.search(message):
        return Outcome(
            outcome="failed",
            reason=Reason.LOST_NODE,
            message=f"a node of the attempt left the cluster ({message})",
        )
    if num_oom_kills or _OUT_OF_MEMORY.search(message):
        killer = "the kernel" if num_oom_kills else "Ray"
        return Outcome(
            outcome="failed",
            reason=Reason.OUT_OF_MEMORY,
            message=f"{killer} killed a process of the attempt for want of memory; {MORE_MEMORY} "
            f"({message})",
        )
    if _FROZEN.search(message):
        return Outcome(
            outcome="failed",
            reason=Reason.HUNG,
            message=f"a process of the attempt does not answer: it is frozen ({message})",
        )
    return Outcome(outcome="failed", reason=Reason.CRASHED, message=message)
