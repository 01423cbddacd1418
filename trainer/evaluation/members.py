"""The networks of an evaluation, loaded from the checkpoints that the spec names."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.checkpoints.checkpoint import load_weights
from trainer.checkpoints.named_checkpoint import folder_at, refusing
from trainer.contract.checkpoint_folder import Checkpoint, read_manifest
from trainer.contract.ensemble import OF_FIRST_RELEASE, MeasuredData, check_member
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec
from trainer.evaluation.evaluate import Member
from trainer.evaluation.validation_set import ValidationSet
from trainer.network.alexnet import AlexNet


@dataclass(frozen=True)
class Loaded:
    """A checkpoint with its network, ready to be shown images."""

    checkpoint: Checkpoint
    model: ModelSpec
    member: Member


def load_members(
    spec: JobSpec, data: ValidationSet, devices: Sequence[torch.device]
) -> list[Loaded]:
    """Load every network of an evaluation; each of its bytes is compared with its sha256.

    All of them are held at once, so that every image is decoded once: 244 MB each at full width,
    on its devices.

    Raises BadSpecError, BadDataError or CheckpointError, which name the checkpoint; none of them is
    worth another try.
    """
    found = [_read(place, location) for place, location in enumerate(spec.evaluation.checkpoints)]
    # Release 0.1 wrote no network beside its weights: it is the spec's.
    models = [checkpoint.manifest.model or spec.model for checkpoint in found]
    measured = MeasuredData(
        train_sha256=data.manifests.sha256().train,
        num_classes=len(data.manifests.validation.classes),
        image_size=data.image_size,
    )
    for checkpoint, model in zip(found, models, strict=True):
        check_member(checkpoint, model, measured, first=models[0])
    loaded = []
    for place, (checkpoint, model) in enumerate(zip(found, models, strict=True)):
        network = AlexNet(model, devices)
        mend = None if checkpoint.manifest.model else OF_FIRST_RELEASE
        with refusing(_field(place), mend=mend):
            load_weights(checkpoint.folder, dict(network.named_parameters()))
        member = data.member(network, model, spec.evaluation.protocol)
        loaded.append(Loaded(checkpoint, model, member))
    return loaded


def _read(place: int, location: str) -> Checkpoint:
    folder = folder_at(_field(place), location)
    with refusing(_field(place)):
        return Checkpoint(folder, read_manifest(folder))


def _field(place: int) -> str:
    return f"evaluation.checkpoints.{place}"
