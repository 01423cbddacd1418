"""Run directories with attempts, checkpoints and ledgers, as attempts leave them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from trainer.attempt.ledger import Ledger
from trainer.checkpoints.checkpoint import take_snapshot, write_checkpoint
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import CheckpointManifest, DataDigests, ScheduleState
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec

SPEC = JobSpec.model_validate(
    {"name": "run", "data": {"train": "nowhere", "validation": "nowhere"}}
)
DATA_SHA256 = DataDigests(train="a" * 64, validation="b" * 64)


def add_attempt(
    run: RunDirectory, *, resume_from: Path | None = None, fence: int = 0
) -> AttemptDirectory:
    """Begin the next attempt of a run, from the start or a checkpoint's folder."""
    number = run.newest_attempt() + 1
    attempt = run.attempt(number)
    order = AttemptOrder(
        job_id="run",
        attempt=number,
        spec=SPEC,
        accelerator="cpu",
        resume_from=None if resume_from is None else str(resume_from.relative_to(run.path)),
        fence=fence,
    )
    write_order(attempt, order)
    return attempt


def manifest_of(step: int, *, top1: float | None = None, attempt: int = 1) -> CheckpointManifest:
    """Return a manifest whose files are not yet written."""
    return CheckpointManifest(
        job_id="run",
        attempt=attempt,
        step=step,
        epoch=step / 10,
        schedule=ScheduleState(drops=1, best_error=0.25, epochs_since_best=2),
        top1=top1,
        top5=top1,
        spec_sha256=SPEC.sha256(),
        data_sha256=DATA_SHA256,
        numerics={"torch": "x"},
        files={},
    )


def tensors_of(step: int) -> dict[str, torch.Tensor]:
    """Return two tensors that differ from step to step."""
    generator = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in (("fc8.weight", (5, 3)), ("fc8.bias", (5,)))
    }


def add_checkpoint(attempt: AttemptDirectory, step: int, *, top1: float | None = None) -> Path:
    """Write the checkpoint after `step` steps and return its folder."""
    folder = attempt.checkpoint(step)
    manifest = manifest_of(step, top1=top1, attempt=attempt.number)
    snapshot = take_snapshot(manifest, tensors_of(step), tensors_of(-step))
    write_checkpoint(snapshot, folder, check_fence=lambda: None)
    return folder


def add_steps(
    attempt: AttemptDirectory, steps: Sequence[int], *, rank: int = 0, steps_per_epoch: int = 10
) -> None:
    """Enter steps in a ledger; step k of an epoch trains samples 10·k + rank and 5 more than it."""
    with Ledger(attempt.ledger(rank)) as ledger:
        for step in steps:
            place = 10 * (step % steps_per_epoch) + rank
            ledger.write(
                step=step,
                epoch=step // steps_per_epoch,
                loss=1.0,
                samples=[place, place + 5],
                corrupt=[],
            )
