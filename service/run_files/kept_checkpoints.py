"""The checkpoints of a job that are there, and why; which of them may be deleted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.jobs.records import AttemptRecord, JobRecord
from trainer.contract.checkpoint import MANIFEST_NAME, WEIGHTS_NAME
from trainer.contract.checkpoint_folder import (
    Checkpoint,
    CheckpointError,
    list_folders,
    read_manifest,
    verify,
)
from trainer.contract.checkpoint_reference import named_checkpoints
from trainer.contract.pins import is_pinned
from trainer.contract.retention import KeptBecause, why_kept
from trainer.contract.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class KeptCheckpoint:
    """A checkpoint of the lineage, its files of the size they were written with."""

    checkpoint: Checkpoint
    saved_at: datetime
    because: tuple[KeptBecause, ...]
    """Why it is kept; none: it goes when the next one is written."""

    @property
    def step(self) -> int:
        """Steps after which it was written."""
        return self.checkpoint.manifest.step


def kept_checkpoints(
    job: JobRecord,
    attempts: Sequence[AttemptRecord],
    run_root: Path,
    others: Callable[[], Iterable[JobRecord]] = tuple,
) -> list[KeptCheckpoint]:
    """Return the checkpoints of a job's lineage, the oldest first.

    Digests are not compared, which would read every byte; whoever loads one does. `others` gives
    the jobs that may hold some of them as inputs; it is asked only where somebody does. `run_root`
    without links. Raises OSError where the disk cannot be used.
    """
    run = RunDirectory(run_root / job.id)
    found = [one for one in map(_readable, _folders(run, attempts)) if one is not None]
    resumed_from = attempts[-1].resume_from if attempts else None
    reasons = why_kept(
        found,
        job.spec.checkpoint,
        resumed_from=[] if resumed_from is None else [run.path / resumed_from],
        pinned={one.folder for one in found if is_pinned(one.folder)},
    )
    # With one name alone, the weights are nobody else's.
    are_held = any(_is_held(one.folder) for one in found)
    inputs = _inputs(run, others()) if are_held else set()
    kept = []
    for one in reversed(found):
        saved_at = _saved_at(one)
        if saved_at is not None:
            held = [KeptBecause.INPUT] if one.folder in inputs else []
            because = (*reasons[one.folder], *held)
            kept.append(KeptCheckpoint(checkpoint=one, saved_at=saved_at, because=because))
    return kept


def checkpoint_of(kept: Sequence[KeptCheckpoint], step: int) -> KeptCheckpoint | None:
    """Return the checkpoint after so many steps; of two attempts the later one's."""
    return next((one for one in reversed(kept) if one.step == step), None)


def why_not_deleted(kept: Sequence[KeptCheckpoint], step: int, *, has_ended: bool) -> str | None:
    """Say why the checkpoint of a step may not be deleted; None: it may.

    `kept`: all of the lineage, the oldest first; `has_ended`: the job. Of one that has not, later
    checkpoints are read to the last byte, the latest first, until one is as it was written: from
    that the job would go on. Raises OSError where the disk cannot be used.
    """
    chosen = checkpoint_of(kept, step)
    assert chosen is not None
    if KeptBecause.PINNED in chosen.because:
        return "it is pinned; unpin it first"
    if has_ended:
        return None
    if chosen is kept[-1]:
        return "it is the latest, from which the job would go on; wait for a later one"
    if KeptBecause.RESUMED_FROM in chosen.because:
        return "the job goes on from it; wait until the job has ended"
    later = kept[kept.index(chosen) + 1 :]
    if not any(_is_whole(one.checkpoint) for one in reversed(later)):
        return "every later one is damaged, so that the job would go on from it; wait for another"
    return None


def _folders(run: RunDirectory, attempts: Sequence[AttemptRecord]) -> list[Path]:
    return list_folders(run, [attempt.number for attempt in attempts])


def _readable(folder: Path) -> Checkpoint | None:
    try:
        return Checkpoint(folder, read_manifest(folder))
    except CheckpointError:
        return None


def _is_whole(checkpoint: Checkpoint) -> bool:
    try:
        verify(checkpoint.folder)
    except CheckpointError:
        return False
    return True


def _saved_at(checkpoint: Checkpoint) -> datetime | None:
    """Return when it was written; None: it is gone, or a file of it has another size."""
    folder = checkpoint.folder
    try:
        whole = all(
            (folder / name).stat().st_size == entry.size_bytes
            for name, entry in checkpoint.manifest.files.items()
        )
        written = (folder / MANIFEST_NAME).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
    return datetime.fromtimestamp(written, UTC) if whole else None


def _inputs(run: RunDirectory, others: Iterable[JobRecord]) -> set[Path]:
    """Return the folders of this run that other jobs hold as inputs."""
    root = run.path.parent
    found = set()
    for other in others:
        held = RunDirectory(root / other.id).inputs
        for _, location in named_checkpoints(other.spec):
            if Path(location).is_relative_to(held):
                found.add(root / Path(location).relative_to(held))
    return found


def _is_held(folder: Path) -> bool:
    try:
        return (folder / WEIGHTS_NAME).stat().st_nlink > 1
    except OSError:
        return False
