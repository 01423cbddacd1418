"""All that a run's future depends on: weights, velocity, schedule, position."""

import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from trainer.checkpoint import load_checkpoint
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import CheckpointManifest, ScheduleState
from trainer.contract.spec import JobSpec
from trainer.initialise import initialise
from trainer.network import AlexNet
from trainer.update_rule import UpdateRule

_log = logging.getLogger(__name__)

_PROJECT = "alexnet-training-service"


class State:
    """The state after `step` steps."""

    def __init__(self, spec: JobSpec, devices: Sequence[torch.device]) -> None:
        self._spec_sha256 = spec.sha256()
        self.network = AlexNet(spec.model, devices)
        parameters = dict(self.network.named_parameters())
        self.rule = UpdateRule(parameters, spec.optim, spec.model.recipe)
        self.step = 0
        self.schedule = ScheduleState()
        self.top1: float | None = None
        """Of the latest evaluation; None before the first."""
        self.top5: float | None = None

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The parameters by name, sharing memory with the network."""
        return dict(self.network.named_parameters())

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint. Raises CheckpointError if it is damaged or of another job."""
        manifest = load_checkpoint(
            folder, self.weights, self.rule.velocity, spec_sha256=self._spec_sha256
        )
        self.step = manifest.step
        self.schedule = manifest.schedule
        self.top1, self.top5 = manifest.top1, manifest.top5
        for what, before, now in (
            ("torch threads", manifest.num_threads, torch.get_num_threads()),
            ("versions", manifest.versions, versions()),
        ):
            if before != now:
                _log.warning(
                    "%s were %s and are now %s: the weights will not be bit-identical to those of "
                    "an undisturbed run",
                    what,
                    before,
                    now,
                )

    def manifest(self, order: AttemptOrder, *, steps_per_epoch: int) -> CheckpointManifest:
        """Describe this state; the files are filled in when they are written."""
        return CheckpointManifest(
            job_id=order.job_id,
            attempt=order.attempt,
            step=self.step,
            epoch=self.step / steps_per_epoch,
            schedule=self.schedule,
            top1=self.top1,
            top5=self.top5,
            spec_sha256=self._spec_sha256,
            num_threads=torch.get_num_threads(),
            versions=versions(),
            files={},
        )


def begin(order: AttemptOrder, run: Path, devices: Sequence[torch.device]) -> State:
    """Return the state an attempt starts from: its checkpoint's, or freshly drawn weights."""
    state = State(order.spec, devices)
    if order.resume_from is None:
        initialise(state.network, order.spec.model, seed=order.spec.seed)
    else:
        state.load(run / order.resume_from)
    return state


def versions() -> dict[str, str]:
    """Return the versions that may change a result."""
    try:
        project = version(_PROJECT)
    except PackageNotFoundError:
        project = "not installed"
    return {"python": platform.python_version(), "torch": torch.__version__, "project": project}
