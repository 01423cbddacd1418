"""What it means that a process is gone without a word of its own: told by what Ray says of it."""

import re

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
# What a driver says that is not the first of its attempt.
HAS_A_DRIVER = "has a driver already"


def death(message: str, *, num_oom_kills: int = 0) -> Outcome:
    """Return what a process came to of which Ray says `message`.

    `num_oom_kills`: processes that the kernel killed just before for want of memory, where it died.
    """
    if HAS_A_DRIVER in message:
        return Outcome(
            outcome="failed",
            reason=Reason.INTERRUPTED,
            message="Ray lost sight of the attempt and was given it twice, so another follows; "
            f"this counts as no failure ({message})",
        )
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
    return Outcome(outcome="failed", reason=Reason.CRASHED, message=message)
