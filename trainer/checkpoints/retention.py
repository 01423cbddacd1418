"""Which checkpoints are kept; the decision is pure, and the deleting a thin edge."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from trainer.contract.checkpoint_folder import (
    Checkpoint,
    CheckpointError,
    list_folders,
    read_manifest,
)
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckpointSpec


def kept(
    latest_first: Sequence[Checkpoint], spec: CheckpointSpec, resumed_from: Path | None
) -> set[Path]:
    """Return the folders to keep: the latest, the best, and the one this attempt began with."""
    folders = {checkpoint.folder for checkpoint in latest_first[: spec.keep_last]}
    # Of equals the latest is the best.
    judged = [checkpoint for checkpoint in latest_first if checkpoint.manifest.top1 is not None]
    if spec.keep_best and judged:
        folders.add(max(judged, key=lambda checkpoint: checkpoint.manifest.top1 or 0.0).folder)
    if resumed_from is not None:
        folders.add(resumed_from)
    return folders


def clear_leftovers(run: RunDirectory) -> None:
    """Delete what was left half written or half deleted; to be called under `prune`'s conditions.

    Each may be as large as a checkpoint: left to lie, it could fill the disk for the next one.
    """
    for leftover in run.path.glob("attempts/*/checkpoints/.step-*"):
        shutil.rmtree(leftover)


def prune(run: RunDirectory, spec: CheckpointSpec, resumed_from: Path | None) -> None:
    """Delete the lineage's other checkpoints, and what was left half written or half deleted.

    Only the current attempt may call this, and only while it writes no checkpoint.
    """
    clear_leftovers(run)
    checkpoints = []
    for folder in list_folders(run):
        try:
            checkpoints.append(Checkpoint(folder, read_manifest(folder)))
        except CheckpointError:
            # A damaged one is left as it is: evidence, and never taken for a checkpoint.
            continue
    keep = kept(checkpoints, spec, resumed_from)
    for checkpoint in checkpoints:
        if checkpoint.folder not in keep:
            _delete(checkpoint.folder)


def _delete(folder: Path) -> None:
    # Renamed first: half a folder must never be seen under the final name.
    aside = folder.with_name(f".{folder.name}.deleted")
    folder.rename(aside)
    shutil.rmtree(aside)
