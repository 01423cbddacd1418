"""A trained network with all that its use elsewhere needs.

A checkpoint holds weights alone. What was subtracted from the images and what the classes are
called lies with the shards that it was trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from data_shards.errors import DataError
from data_shards.manifest import Manifest
from data_shards.shards.sidecars import load_mean_image
from data_shards.storage.manifests import read_manifest as read_set_manifest
from data_shards.storage.manifests import set_location
from trainer.attempt.attempt_folder import attempt_at
from trainer.checkpoints.checkpoint import load_weights
from trainer.contract.checkpoint import MANIFEST_NAME, WEIGHTS_NAME, CheckpointManifest, Sha256
from trainer.contract.checkpoint_folder import latest_checkpoint, read_manifest
from trainer.contract.model import Record
from trainer.contract.model_spec import ModelSpec
from trainer.contract.order_file import order_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import JobSpec
from trainer.learning.preprocess import centre
from trainer.network.alexnet import AlexNet

_CPU = torch.device("cpu")


class ExportError(Exception):
    """A network cannot be exported; says why and what to do."""


class About(Record):
    """What an exported file tells of the network in it."""

    pixels: str = Field(default="RGB, 0 to 255", description="Order and scale of the images.")
    input_size: int = Field(description="Edge of the square crop that it reads, in pixels.")
    image_size: int = Field(
        description="Edge in pixels to which images were scaled and cropped before that."
    )
    classes: tuple[str, ...] = Field(description="Name of each label; there may be more outputs.")
    synsets: tuple[str | None, ...] | None = Field(
        description="WordNet id of each label; None where no class has one."
    )
    model: ModelSpec
    top1: float | None = Field(description="Latest validation accuracies; None before the first.")
    top5: float | None
    job_id: str
    step: int
    epoch: float
    weights_sha256: Sha256 = Field(description=f"Of the checkpoint's {WEIGHTS_NAME}.")
    data_sha256: Sha256 = Field(description="Of what the training set's manifest describes.")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network, and what was subtracted from its images."""

    network: AlexNet
    """On the CPU, in fp32."""
    mean_image: Tensor
    """Float32 (3, s, s), RGB on 0-255: the centre crop of the training set's."""
    about: About


def read_trained(
    source: Path,
    *,
    spec: JobSpec | None = None,
    manifest: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Read a checkpoint's folder, or the latest whole checkpoint of a run directory.

    Which network it is, where the checkpoint does not say, and where the training shards are is in
    the order of its attempt, unless `spec` or `manifest` tells it. `say` hears of damaged
    checkpoints that were passed over.

    Raises CheckpointError if the checkpoint is damaged or of another network, and ExportError if
    there is none, or if what else is needed is not where it should be.
    """
    folder = _checkpoint_at(source, say)
    stored = read_manifest(folder)
    model = stored.model
    if model is None:
        # Release 0.1 wrote none.
        model = (spec or _spec_of(folder, lacking="the network", option="--spec JOB.json")).model
    if manifest is None:
        lacking, option = "where its mean image and class names lie", "--manifest SHARDS/train"
        manifest = (spec or _spec_of(folder, lacking=lacking, option=option)).data.train
    shards, mean_image = _data_of(manifest, stored)
    network = AlexNet(model, [_CPU, _CPU])
    load_weights(folder, network.state_dict())
    # (s, s, 3) -> (c, c, 3) -> (3, c, c)
    mean_image = centre(mean_image, model.input_size).permute(2, 0, 1).contiguous()
    about = _about(model, stored, shards)
    return Trained(network=network, mean_image=mean_image, about=about)


def _checkpoint_at(source: Path, say: Callable[[str], None]) -> Path:
    if not source.is_dir():
        raise ExportError(f"{source} is no folder; name a checkpoint's, or a run directory")
    if (source / MANIFEST_NAME).exists():
        return source.absolute()
    run = RunDirectory(source.absolute())
    if not run.newest_attempt():
        raise ExportError(f"{source} is neither a checkpoint, with {MANIFEST_NAME}, nor a run")
    latest = latest_checkpoint(run)
    for refused in latest.damaged:
        say(f"refused: {refused}")
    if latest.checkpoint is None:
        raise ExportError(f"{source} holds no whole checkpoint; train on, or name another run")
    return latest.checkpoint.folder


def _spec_of(folder: Path, *, lacking: str, option: str) -> JobSpec:
    """Return the job of the attempt that wrote a checkpoint, from RUN/attempts/NUMBER/order.json.

    Raises ExportError, which names the option that tells what is lacking.
    """
    attempt = folder.parent.parent
    mend = f"name {lacking} by {option}"
    if attempt.parent.name != "attempts" or not attempt.name.isdecimal():
        raise ExportError(f"{folder} does not lie in a run directory: {mend}")
    directory = attempt_at(attempt)
    try:
        order = order_of(directory)
    except OSError as error:
        raise ExportError(f"{directory.order} cannot be read ({error}): {mend}") from error
    if order is None:
        raise ExportError(f"{directory.order} is not there, or is no order: {mend}")
    return order.spec


def _data_of(location: str | Path, stored: CheckpointManifest) -> tuple[Manifest, Tensor]:
    """Return the training set's manifest and mean image, (s, s, 3)."""
    mend = "name the shards that it was trained on by --manifest SHARDS/train"
    try:
        folder = set_location(location)
        shards = read_set_manifest(folder)
        if shards.content_sha256() != stored.data_sha256.train:
            raise ExportError(f"{folder} is not what the network was trained on; {mend}")
        return shards, torch.from_numpy(load_mean_image(folder, shards))
    except DataError as error:
        raise ExportError(f"{error}; or {mend}") from error


def _about(model: ModelSpec, stored: CheckpointManifest, shards: Manifest) -> About:
    synsets = tuple(entry.synset for entry in shards.classes)
    return About(
        input_size=model.input_size,
        image_size=shards.image_size,
        classes=tuple(entry.name for entry in shards.classes),
        synsets=synsets if any(synsets) else None,
        model=model,
        top1=stored.top1,
        top5=stored.top5,
        job_id=stored.job_id,
        step=stored.step,
        epoch=stored.epoch,
        weights_sha256=stored.files[WEIGHTS_NAME].sha256,
        data_sha256=stored.data_sha256.train,
    )
