"""All that a run's future depends on: weights, velocity, schedule, position."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.checkpoints.checkpoint import load_checkpoint
from trainer.checkpoints.init_from import check_beginning, load_initial
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import (
    CheckpointManifest,
    DataDigests,
    ScheduleState,
    StartedFrom,
)
from trainer.contract.checkpoint_folder import (
    OtherDataError,
    OtherKernelError,
    OtherSpecError,
    read_manifest,
)
from trainer.contract.spec import JobSpec
from trainer.devices.machine import numerics
from trainer.devices.replicas import Replicas
from trainer.learning.update_rule import UpdateRule
from trainer.network.alexnet import AlexNet
from trainer.network.early_layer import EarlyLayer
from trainer.network.initialise import initialise

_log = logging.getLogger(__name__)

_LRN_KERNEL = "LRN kernel"  # in the numerics
# Where to find the kernel of a checkpoint; the others are where neither of these is.
_KERNEL_IS_WHERE = {
    "fused": "on a CPU with g++ installed (Debian: apt-get install g++)",
    "compiled": "on a GPU",
}


class State:
    """The state after `step` steps."""

    def __init__(
        self,
        spec: JobSpec,
        devices: Sequence[torch.device],
        data_sha256: DataDigests,
        replicas: Replicas,
    ) -> None:
        """Gather what the replicas compute on: each must construct its state at the same point."""
        self._spec_sha256 = spec.sha256()
        self._data_sha256 = data_sha256
        self._allow_other_kernels = spec.checkpoint.allow_other_kernels
        self._model = spec.model
        self._init_from = spec.init_from
        self.network = AlexNet(spec.model, devices)
        own = {
            **numerics(devices),
            _LRN_KERNEL: _lrn_kernels(self.network),
            "micro-batch": str(spec.optim.micro_batch_size or spec.replica_batch_size),
            "replicas": str(spec.scale.replicas),
        }
        # Each replica's machine has its part in the sums; so all tell the same.
        self._numerics = together(replicas.gather(own))
        parameters = dict(self.network.named_parameters())
        self.rule = UpdateRule(
            parameters, spec.optim, spec.model.recipe, self.network.working_copies()
        )
        self.step = 0
        self.schedule = ScheduleState()
        self.top1: float | None = None
        """Of the latest evaluation; None before the first."""
        self.top5: float | None = None
        self.started_from: StartedFrom | None = None
        """Whose weights the run began with; None: all were drawn."""
        self.inexact: tuple[str, ...] = ()
        """Why what follows is not bit-identical to an undisturbed run; empty: it is."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The parameters by name, sharing memory with the network."""
        return dict(self.network.named_parameters())

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint.

        Raises CheckpointError if it is damaged, OtherSpecError, OtherDataError, or
        OtherKernelError.
        """
        self._check_origin(folder)
        manifest = load_checkpoint(folder, self.weights, self.rule.velocity)
        self.step = manifest.step
        self.schedule = manifest.schedule
        self.top1, self.top5 = manifest.top1, manifest.top5
        self.started_from = manifest.started_from
        changes = differences(manifest.numerics, self._numerics)
        if changes:
            _log.warning(
                "this resume is not exact, the weights will not be bit-identical to those of an "
                "undisturbed run: %s",
                "; ".join(changes),
            )
        # What once was not exact remains so, however exact the resumes after it.
        self.inexact = tuple(dict.fromkeys((*manifest.inexact, *changes)))

    def _check_origin(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        if manifest.model is None:
            # What its digest is of lacks fields that the spec has had since.
            raise OtherSpecError(
                folder,
                "was written by release 0.1, whose runs this release cannot go on with; end the "
                "run with that release, or begin a new job with its weights by init_from",
            )
        if manifest.spec_sha256 != self._spec_sha256:
            raise OtherSpecError(
                folder,
                "was written by a job with another spec; start a new job, or restore the spec "
                "it had",
            )
        check_beginning(folder, manifest.started_from, self._init_from)
        before, now = manifest.data_sha256.model_dump(), self._data_sha256.model_dump()
        changed = [
            f"the content of data.{name} had sha256 {before[name]} and has {now[name]}"
            for name in now
            if before[name] != now[name]
        ]
        if changed:
            raise OtherDataError(
                folder,
                f"was trained on other data: {'; '.join(changed)}; "
                "put back the shards it was trained on, or start a new job",
            )
        kernel, here = manifest.numerics.get(_LRN_KERNEL, "unknown"), self._numerics[_LRN_KERNEL]
        if kernel != here and not self._allow_other_kernels:
            where = _KERNEL_IS_WHERE.get(kernel, "on a machine of the same kind")
            raise OtherKernelError(
                folder,
                f"was trained with the LRN kernel {kernel}, and here LRN is computed by {here}, "
                f"whose last bits differ; resume {where}, or accept that the weights will not be "
                "bit-identical by checkpoint.allow_other_kernels = true",
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
            model=self._model,
            started_from=self.started_from,
            data_sha256=self._data_sha256,
            numerics=self._numerics,
            inexact=self.inexact,
            files={},
        )


def begin(
    order: AttemptOrder,
    run: Path,
    devices: Sequence[torch.device],
    *,
    data_sha256: DataDigests,
    replicas: Replicas,
) -> State:
    """Return the state an attempt starts from.

    That of the run's own checkpoint; without one, weights drawn or another checkpoint's.
    """
    spec = order.spec
    state = State(spec, devices, data_sha256, replicas)
    if order.resume_from is not None:
        state.load(run / order.resume_from)
        return state
    initialise(state.network, spec.model, seed=spec.seed)
    if spec.init_from is not None:
        state.started_from = load_initial(spec.init_from, state.weights, model=spec.model)
    return state


def together(numerics_by_rank: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Say of each thing what it is for all replicas, or for each where it is not the same."""
    return {
        what: _common(tuple(each[what] for each in numerics_by_rank))
        for what in numerics_by_rank[0]
    }


def _common(values: Sequence[str]) -> str:
    if len(set(values)) == 1:
        return values[0]
    return ", ".join(f"{value} on rank {rank}" for rank, value in enumerate(values))


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Say of each thing that may change the last bit of a result how it has changed."""
    return tuple(
        f"{what} was {before.get(what, 'unknown')} and is {now.get(what, 'unknown')}"
        for what in {**now, **before}
        if before.get(what) != now.get(what)
    )


def _lrn_kernels(network: AlexNet) -> str:
    names = {layer.kernel for layer in network.modules() if isinstance(layer, EarlyLayer)}
    return " and ".join(sorted(names))
