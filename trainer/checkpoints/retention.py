"""Deleting the checkpoints that nothing keeps: the thin edge of `trainer.contract.retention`."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import CheckpointSpec

_log = logging.getLogger(__name__)


def clear_leftovers(attempt: AttemptDirectory) -> None:
    """Delete what was left half written or half deleted; to be called under `prune`'s conditions.

    Each may be as large as a checkpoint: left to lie, it could fill the disk for the next one. Of
    later attempts nothing, and of this one only checkpoints: the rest may be in the making. An
    earlier one may live and write still, so that what cannot be deleted is left.
    """
    run = RunDirectory(attempt.run)
    clear_discarded(run)
    for number in range(1, attempt.number + 1):
        one = run.attempt(number)
        for leftover in one.checkpoints.glob(".step-*.partial"):
            with _going_on(leftover):
                shutil.rmtree(leftover)
        if number == attempt.number:
            return
        for leftover in (*one.path.glob(".*.partial"), *one.pictures.rglob(".*.partial")):
            with _going_on(leftover):
                leftover.unlink(missing_ok=True)


def prune(attempt: AttemptDirectory, spec: CheckpointSpec, resumed_from: Path | None) -> None:
    """Delete the lineage's other checkpoints, and what was left half written or half deleted.

    Only the current attempt may call this, and only while it writes no checkpoint; it began with
    `resumed_from`. Where the newest order cannot be read, nothing is deleted.
    """
    run = RunDirectory(attempt.run)
    try:
        newest_began_with = _newest_began_with(run)
    except ValidationError:
        # Without the error's text, which quotes the file: it may hold a token.
        _log.warning("the newest order below %s is not one; no checkpoint is deleted", run.path)
        return
    clear_leftovers(attempt)
    checkpoints = []
    for folder in list_folders(run):
        try:
            checkpoints.append(Checkpoint(folder, read_manifest(folder)))
        except (CheckpointError, OSError):
            # A damaged one is left as it is: evidence, and never taken for a checkpoint. So is one
            # that cannot be read now.
            continue
    reasons = why_kept(
        checkpoints,
        spec,
        resumed_from=[folder for folder in (resumed_from, newest_began_with) if folder],
        pinned={checkpoint.folder for checkpoint in checkpoints if is_pinned(checkpoint.folder)},
    )
    for folder, why in reasons.items():
        if not why:
            with _going_on(folder):
                discard(folder)


@contextmanager
def _going_on(path: Path) -> Iterator[None]:
    """Log what cannot be deleted: it is tried again, and no attempt that is well ends of it."""
    try:
        yield
    except OSError as error:
        _log.warning("%s cannot be deleted now: %s", path, error)


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
