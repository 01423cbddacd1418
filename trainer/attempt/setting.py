"""What an attempt's loop needs of the world around it, and how it tells that it ended."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from data_shards.feeding.reader import Batch
from trainer.attempt.fence import Fence
from trainer.attempt.replica_metrics import ReplicaMetrics
from trainer.attempt.watchdog import Watchdog
from trainer.contract.attempt import AttemptOrder
from trainer.contract.events import AttemptEventData
from trainer.contract.pictures import ClassCounts
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import Desired
from trainer.devices.replicas import Replicas
from trainer.errors import StaleAttemptError

Ending = Literal["succeeded", "paused", "cancelled"]

# Assumed: often enough to see it move, seldom enough to cost nothing.
PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True)
class Votes:
    """What a replica asks all of them to do at the end of the step."""

    pause: bool = False
    cancel: bool = False
    disowned: bool = False
    enough: bool = False
    """In a calibration: its time is over."""


class Draw(Protocol):
    """Has pictures drawn, and does not wait for them."""

    def __call__(
        self, *, step: int, epoch: float, has_checkpoint: bool, counts: ClassCounts | None
    ) -> None:
        """Of the checkpoint after a step, if there is one, and of an evaluation's counts."""
        ...


def draw_nothing(
    *,
    step: int,
    epoch: float,
    has_checkpoint: bool,
    counts: ClassCounts | None,
) -> None:
    """Leave it."""


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
    watchdog: Watchdog = field(default_factory=Watchdog)
    """Is told what gets on."""
    metrics: ReplicaMetrics = field(default_factory=lambda: ReplicaMetrics("", 0))
    """Takes what is measured, whoever reads it."""
    draw: Draw = draw_nothing
    """To be called by rank 0."""

    def votes(self) -> Votes:
        """Return what this replica has been told meanwhile."""
        desired = self.desired()
        return Votes(
            pause=desired is Desired.PAUSE,
            cancel=desired is Desired.CANCEL,
            disowned=self.disowned(),
        )

    def heeding(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches as long as nobody wants the attempt to end; all replicas must take them.

        Raises EndWanted or StaleAttemptError, in every replica before the same batch.
        """
        for batch in batches:
            own = self.votes()
            pause, cancel, disowned = self.replicas.sum(own.pause, own.cancel, own.disowned)
            if disowned:
                raise StaleAttemptError("the control plane refused this attempt's events")
            if cancel or pause:
                raise EndWanted("cancelled" if cancel else "paused")
            yield batch


class EndWanted(Exception):  # noqa: N818 - it is no error
    """A pause or a cancel is wanted while nothing is trained."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending: Ending = ending


@dataclass(frozen=True)
class Ended:
    """How the loop ended, after how many steps of the job."""

    ending: Ending
    step: int
