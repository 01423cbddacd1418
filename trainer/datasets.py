"""The two readers of a replica, opened and checked against the spec."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from data_shards.manifest import manifest_file
from data_shards.plan import ReaderPlan
from data_shards.reader import Reader
from data_shards.sidecars import load_mean_image
from trainer.contract.checkpoint import DataDigests
from trainer.contract.spec import JobSpec
from trainer.errors import BadSpecError
from trainer.preprocess import Colour, Preprocess
from trainer.replicas import Replicas

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# `crop_chunk` of the 2012 source's `convdata.py`; section 4.1 has no such thing.
_IMAGES_PER_CROP = {"paper": 1, "source2012": 32}


class Datasets:
    """Training and validation batches, and how each is prepared; a context manager."""

    def __init__(
        self, spec: JobSpec, replicas: Replicas, devices: tuple[torch.device, torch.device]
    ) -> None:
        """Open both. Raises ManifestError, ShardError, PlanError or BadSpecError."""
        with ExitStack() as opened:
            self.train = opened.enter_context(_open(_train_plan(spec, replicas), spec))
            self.validation = opened.enter_context(_open(_validation_plan(spec, replicas), spec))
            _check_classes(spec, self.train, self.validation)
            # The validation images too are taken relative to the training set's mean.
            mean_image = load_mean_image(self.train.plan.folder, self.train.manifest)
            _check_sizes(self.train, self.validation)
            self.sha256 = DataDigests(
                train=self.train.manifest.content_sha256(),
                validation=self.validation.manifest.content_sha256(),
            )
            dtype = _DTYPES[spec.precision]
            colour = Colour(
                self.train.manifest.rgb_pca, spec.augment.colour_strength, spec.model.recipe
            )
            centre_mean = spec.model.recipe == "source2012"
            self.prepare_train, self.prepare_validation = (
                Preprocess(mean_image, drawn, devices, dtype, centre_mean=centre_mean)
                for drawn in (colour, None)
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @property
    def steps_per_epoch(self) -> int:
        """⌈N / global batch⌉ of the training set."""
        return self.train.steps_per_epoch


def folder_of(location: str) -> Path:
    """Return the folder of the manifest that a spec's data location names; raise ManifestError."""
    return manifest_file(Path(location)).parent


def _open(plan: ReaderPlan, spec: JobSpec) -> Reader:
    return Reader(plan, num_processes=spec.data.num_loader_processes)


def _train_plan(spec: JobSpec, replicas: Replicas) -> ReaderPlan:
    return ReaderPlan(
        folder=folder_of(spec.data.train),
        seed=spec.seed,
        global_batch_size=spec.optim.global_batch_size,
        crop_size=spec.model.input_size,
        num_streams=spec.data.num_streams,
        window=spec.data.window,
        replica=replicas.rank,
        num_replicas=replicas.size,
        random_crop=spec.augment.crop,
        mirror=spec.augment.mirror,
        images_per_crop=_IMAGES_PER_CROP[spec.model.recipe],
    )


def _validation_plan(spec: JobSpec, replicas: Replicas) -> ReaderPlan:
    return ReaderPlan(
        folder=folder_of(spec.data.validation),
        seed=spec.seed,
        global_batch_size=spec.optim.global_batch_size,
        crop_size=spec.model.input_size,
        replica=replicas.rank,
        num_replicas=replicas.size,
        random_crop=False,
        mirror=False,
        ordered=True,
    )


def _check_classes(spec: JobSpec, train: Reader, validation: Reader) -> None:
    if train.manifest.classes != validation.manifest.classes:
        raise BadSpecError(
            "data.validation: its classes are not those of data.train, in the same order; "
            "pack both from the same source"
        )
    num_classes = len(train.manifest.classes)
    if num_classes > spec.model.num_classes:
        raise BadSpecError(
            f"model.num_classes: the shards have {num_classes} classes, more than the network's "
            f"{spec.model.num_classes}; set it to {num_classes}"
        )


def _check_sizes(train: Reader, validation: Reader) -> None:
    sizes = train.manifest.image_size, validation.manifest.image_size
    if sizes[0] != sizes[1]:
        raise BadSpecError(
            f"data.validation: images of {sizes[1]} pixels, where data.train has {sizes[0]}; "
            "pack both in the same size"
        )
