"""Why checkpoints are kept: one decision, which attempts delete by and the service shows. Pure."""

from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path

from trainer.contract.checkpoint_folder import Checkpoint
from trainer.contract.spec import CheckpointSpec


class KeptBecause(StrEnum):
    """Why a checkpoint is not deleted."""

    LAST = "last"
    """It is one of the latest `checkpoint.keep_last`."""
    BEST = "best"
    """It has the least top-1 error, and `checkpoint.keep_best` is on."""
    RESUMED_FROM = "resumed_from"
    """The newest attempt went on from it."""
    PINNED = "pinned"
    """Somebody has pinned it."""
    INPUT = "input"
    """A job that has not ended names it, and holds its weights itself."""


def why_kept(
    latest_first: Sequence[Checkpoint],
    spec: CheckpointSpec,
    *,
    resumed_from: Collection[Path] = (),
    pinned: Collection[Path] = (),
) -> dict[Path, list[KeptBecause]]:
    """Return why each folder of a lineage is kept; no reason: it may go.

    `latest_first`: every whole checkpoint of the lineage, whichever attempts wrote them.
    """
    reasons: dict[Path, list[KeptBecause]] = {one.folder: [] for one in latest_first}
    for checkpoint in latest_first[: spec.keep_last]:
        reasons[checkpoint.folder].append(KeptBecause.LAST)
    # Of equals the latest is the best.
    judged = [checkpoint for checkpoint in latest_first if checkpoint.manifest.top1 is not None]
    if spec.keep_best and judged:
        best = max(judged, key=lambda checkpoint: checkpoint.manifest.top1 or 0.0)
        reasons[best.folder].append(KeptBecause.BEST)
    for folder, why in reasons.items():
        if folder in resumed_from:
            why.append(KeptBecause.RESUMED_FROM)
        if folder in pinned:
            why.append(KeptBecause.PINNED)
    return reasons
