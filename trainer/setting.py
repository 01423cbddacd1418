"""What an attempt's loop needs of the world around it, and how it tells that it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEventData
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import Desired
from trainer.fence import Fence
from trainer.replicas import Replicas

Ending = Literal["succeeded", "paused", "cancelled"]

# Assumed: often enough to see it move, seldom enough to cost nothing.
PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True)
class Votes:
    """What a replica asks all of them to do at the end of the step."""

    pause: bool = False
    cancel: bool = False
    disowned: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that the loop needs of the world around it."""

    order: AttemptOrder
    attempt: AttemptDirectory
    replicas: Replicas
    devices: tuple[torch.device, torch.device]
    pid: int
    gpu_ids: tuple[str, ...]
    """What the cluster calls this replica's GPUs."""
    report: Callable[[AttemptEventData], None]
    """Takes rank 0's events; does nothing elsewhere."""
    desired: Callable[[], Desired]
    disowned: Callable[[], bool]
    fence: Fence

    def votes(self) -> Votes:
        """Return what this replica has been told meanwhile."""
        desired = self.desired()
        return Votes(
            pause=desired is Desired.PAUSE,
            cancel=desired is Desired.CANCEL,
            disowned=self.disowned(),
        )


@dataclass(frozen=True)
class Ended:
    """How the loop ended, after how many steps of the job."""

    ending: Ending
    step: int
