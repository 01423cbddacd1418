"""Deleting the checkpoints that nothing keeps: the thin edge of `trainer.contract.retention`."""

import logging
import shutil
from pathlib import Path

from pydantic import ValidationError

from trainer.contract.checkpoint_folder import (
    Checkpoint,
    CheckpointError,
    list_folders,
    read_manifest,
)
from trainer.contract.order_file import read_order
from trainer.contract.pins import clear_discarded, discard, is_pinned
from trainer.contract.retention import why_kept
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckpointSpec

_log = logging.getLogger(__name__)


def clear_leftovers(run: RunDirectory) -> None:
    """Delete what was left half written or half deleted; to be called under `prune`'s conditions.

    Each may be as large as a checkpoint: left to lie, it could fill the disk for the next one. Of
    the newest attempt only checkpoints: its other files may be in the making.
    """
    clear_discarded(run)
    for leftover in run.path.glob("attempts/*/checkpoints/.step-*.partial"):
        shutil.rmtree(leftover)
    newest = run.attempt(run.newest_attempt()).path
    for leftover in run.path.glob("attempts/*/.*.partial"):
        if leftover.parent != newest:
            leftover.unlink(missing_ok=True)


def prune(run: RunDirectory, spec: CheckpointSpec, resumed_from: Path | None) -> None:
    """Delete the lineage's other checkpoints, and what was left half written or half deleted.

    Only the current attempt may call this, and only while it writes no checkpoint; it began with
    `resumed_from`. Where the newest order cannot be read, nothing is deleted.
    """
    try:
        newest_began_with = _newest_began_with(run)
    except ValidationError:
        # Without the error's text, which quotes the file: it may hold a token.
        _log.warning("the newest order below %s is not one; no checkpoint is deleted", run.path)
        return
    clear_leftovers(run)
    checkpoints = []
    for folder in list_folders(run):
        try:
            checkpoints.append(Checkpoint(folder, read_manifest(folder)))
        except CheckpointError:
            # A damaged one is left as it is: evidence, and never taken for a checkpoint.
            continue
    reasons = why_kept(
        checkpoints,
        spec,
        resumed_from=[folder for folder in (resumed_from, newest_began_with) if folder],
        pinned={checkpoint.folder for checkpoint in checkpoints if is_pinned(checkpoint.folder)},
    )
    for folder, why in reasons.items():
        if not why:
            discard(folder)


def _newest_began_with(run: RunDirectory) -> Path | None:
    """Return what the newest attempt goes on from: it may have begun since the fence was asked.

    Raises ValidationError where its order cannot be read.
    """
    newest = run.newest_attempt()
    if newest == 0:
        return None
    try:
        resume_from = read_order(run.attempt(newest)).resume_from
    except FileNotFoundError:
        # It has not come so far as to begin.
        return None
    return None if resume_from is None else run.path / resume_from
