"""The validation set of a replica: whole images, in order, and how networks see them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from data_shards.closing import Closing
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Batch, Reader
from data_shards.manifest import Manifest
from data_shards.shards.sidecars import load_mean_image
from data_shards.storage.manifests import read_manifest, set_location
from trainer.contract.checkpoint import DataDigests
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec, Protocol
from trainer.devices.replicas import Replicas
from trainer.errors import BadSpecError
from trainer.evaluation.evaluate import Member
from trainer.evaluation.views import views
from trainer.learning.preprocess import Preprocess
from trainer.network.alexnet import AlexNet

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Manifests:
    """What the two sets of a job hold."""

    train: Manifest
    validation: Manifest

    def sha256(self) -> DataDigests:
        """Digest of what each describes."""
        return DataDigests(
            train=self.train.content_sha256(), validation=self.validation.content_sha256()
        )


class ValidationSet(Closing):
    """Batches of the validation images, which the training set's mean is taken from.

    A context manager. The images come whole, so that each is decoded once however many views of it
    are shown to however many networks.
    """

    def __init__(
        self, spec: JobSpec, replicas: Replicas, devices: tuple[torch.device, torch.device]
    ) -> None:
        """Open it. Raises ManifestError, ShardError, PlanError or BadSpecError."""
        train = set_location(spec.data.train)
        self.manifests = Manifests(
            train=read_manifest(train), validation=read_manifest(spec.data.validation)
        )
        _check_alike(self.manifests)
        self.mean_image = load_mean_image(train, self.manifests.train)
        self._devices = devices
        self.dtype = _DTYPES[spec.precision]
        self.reader = Reader(
            _plan(spec, replicas, self.image_size), num_processes=spec.data.num_loader_processes
        )

    def close(self) -> None:
        """End its loaders."""
        self.reader.close()

    @property
    def image_size(self) -> int:
        """Edge of the images of both sets, in pixels."""
        return self.manifests.validation.image_size

    @property
    def num_batches(self) -> int:
        """Global batches of one pass."""
        return self.reader.steps_per_epoch

    def batches(self) -> Iterator[Batch]:
        """Yield this replica's share of one pass: whole images, in the manifest's order."""
        return self.reader.batches(0, self.num_batches)

    def member(self, network: AlexNet, model: ModelSpec, protocol: Protocol) -> Member:
        """Return a network with the views that it is to be shown of these images."""
        preprocess = Preprocess(
            self.mean_image,
            None,
            self._devices,
            self.dtype,
            centre_mean=model.recipe == "source2012",
        )
        seen = views(protocol, image_size=self.image_size, input_size=model.input_size)
        return Member(network, preprocess, seen)


def _plan(spec: JobSpec, replicas: Replicas, image_size: int) -> ReaderPlan:
    return ReaderPlan(
        location=set_location(spec.data.validation),
        seed=spec.seed,
        global_batch_size=spec.optim.global_batch_size,
        crop_size=image_size,
        replica=replicas.rank,
        num_replicas=replicas.size,
        random_crop=False,
        mirror=False,
        ordered=True,
    )


def _check_alike(manifests: Manifests) -> None:
    train, validation = manifests.train, manifests.validation
    if train.classes != validation.classes:
        raise BadSpecError(
            "data.validation: its classes are not those of data.train, in the same order; "
            "pack both from the same source"
        )
    if train.image_size != validation.image_size:
        raise BadSpecError(
            f"data.validation: images of {validation.image_size} pixels, where data.train has "
            f"{train.image_size}; pack both in the same size"
        )
