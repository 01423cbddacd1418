"""checkpoint.json, the manifest that makes a folder of tensors a checkpoint."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from trainer.contract.events import Ratio
from trainer.contract.model import Record
from trainer.contract.model_spec import LayerName, ModelSpec

CHECKPOINT_VERSION: Literal[1] = 1
MANIFEST_NAME = "checkpoint.json"
WEIGHTS_NAME = "model.safetensors"
VELOCITY_NAME = "velocity.safetensors"

_DIGEST = "manifest_sha256"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointFile(Record):
    """Size and digest of one file beside the manifest."""

    size_bytes: int = Field(ge=0)
    sha256: Sha256


class DataDigests(Record):
    """What a run was trained on, wherever it lies: sha256 of what each set's manifest describes.

    A manifest holds the sha256 of every file beside it.
    """

    train: Sha256
    validation: Sha256


class ScheduleState(Record):
    """All that the schedule remembers."""

    drops: int = Field(default=0, ge=0, description="How often the rate has dropped.")
    best_error: Ratio | None = Field(default=None, description="Least validation top-1 error seen.")
    epochs_since_best: int = Field(default=0, ge=0)


class StartedFrom(Record):
    """The checkpoint whose weights a fine-tuned run began with."""

    checkpoint: str = Field(description="Folder that it lay in.")
    job_id: str
    step: int = Field(ge=0, description="Steps after which it was written.")
    weights_sha256: Sha256 = Field(description="Of its model.safetensors.")
    new_layers: tuple[LayerName, ...] = Field(description="Drawn, not taken from it.")


class CheckpointManifest(Record):
    """One atomic snapshot: weights, velocity, schedule and position."""

    version: Literal[1] = CHECKPOINT_VERSION
    job_id: str
    attempt: int
    step: int = Field(ge=0, description="Steps done; also the position in the data.")
    epoch: float
    schedule: ScheduleState
    top1: Ratio | None = Field(description="Latest evaluation; None before the first.")
    top5: Ratio | None
    spec_sha256: Sha256 = Field(description="JobSpec.sha256.")
    model: ModelSpec | None = Field(
        default=None,
        description="The network whose weights these are; None in checkpoints of release 0.1.",
    )
    started_from: StartedFrom | None = Field(
        default=None, description="Where fine-tuning began; None: all weights were drawn."
    )
    data_sha256: DataDigests
    numerics: dict[str, str] = Field(
        description="What may change the last bit of a result, by rank where the replicas "
        "differ; bit-identical resume needs the same."
    )
    inexact: tuple[str, ...] = Field(
        default=(),
        description="Why these weights are not bit-identical to those of an undisturbed run: what "
        "changed at the resumes before, each once; empty: they are.",
    )
    files: dict[str, CheckpointFile]
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="Of all that this manifest says beside (`digest_of`); None in checkpoints of "
        "release 0.1, and before a checkpoint is written.",
    )

    def sealed(self) -> Self:
        """Return the same with its digest."""
        return self.model_copy(update={_DIGEST: digest_of(self.model_dump(mode="json"))})


def digest_of(document: Mapping[str, Any]) -> str:
    """Take the sha256 of what a manifest says, however it is laid out; without its own digest.

    Of the document, not the record: later releases may know more fields.
    """
    said = {name: value for name, value in document.items() if name != _DIGEST}
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
