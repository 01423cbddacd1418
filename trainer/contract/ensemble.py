"""Which checkpoints can be evaluated together, and on which data. Pure."""

from dataclasses import dataclass

from trainer.contract.checkpoint_folder import Checkpoint, OtherDataError, OtherSpecError
from trainer.contract.model_spec import ModelSpec

OF_FIRST_RELEASE = (
    "release 0.1 wrote no network beside its weights, so that of the spec is taken: set model as "
    "it was in their job"
)


@dataclass(frozen=True, kw_only=True)
class MeasuredData:
    """What an evaluation's networks must fit."""

    train_sha256: str
    """Of what data.train describes: its mean image and its classes are the networks'."""
    num_classes: int
    image_size: int
    """Edge of the stored images, in pixels."""


def check_member(
    checkpoint: Checkpoint, model: ModelSpec, data: MeasuredData, *, first: ModelSpec
) -> None:
    """Raise CheckpointError where a network cannot be measured on the data beside the first one.

    `model` is the checkpoint's own; of release 0.1, which wrote none, the spec's.
    """
    folder = checkpoint.folder
    by_spec = "" if checkpoint.manifest.model else f" ({OF_FIRST_RELEASE})"
    trained_on = checkpoint.manifest.data_sha256.train
    if trained_on != data.train_sha256:
        raise OtherDataError(
            folder,
            f"was trained on other data than data.train: their content had sha256 {trained_on}, "
            f"and that of data.train has {data.train_sha256}; name in data.train what it was "
            "trained on, for its mean image and its classes",
        )
    if model.num_classes != first.num_classes:
        raise OtherSpecError(
            folder,
            f"has {model.num_classes} outputs{by_spec}, and the first network {first.num_classes}: "
            "their softmaxes cannot be averaged; evaluate them in jobs of their own",
        )
    if model.num_classes < data.num_classes:
        raise OtherSpecError(
            folder,
            f"has {model.num_classes} outputs{by_spec}, fewer than the {data.num_classes} classes "
            "of data.validation; name the data it was trained for",
        )
    if model.input_size > data.image_size:
        raise OtherSpecError(
            folder,
            f"reads crops of {model.input_size} pixels{by_spec}, which do not fit into images "
            f"of {data.image_size}; name data that are packed larger",
        )
