"""The two sets of a replica, opened and checked against the spec."""

from contextlib import ExitStack

import torch

from data_shards.closing import Closing
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.feeding.shard_uses import check_cache
from data_shards.storage.manifests import set_location
from data_shards.storage.node_cache import node_cache
from trainer.contract.spec import JobSpec
from trainer.devices.replicas import Replicas
from trainer.errors import BadSpecError
from trainer.evaluation.validation_set import ValidationSet
from trainer.learning.preprocess import Colour, Preprocess

# `crop_chunk` of the 2012 source's `convdata.py`; section 4.1 has no such thing.
_IMAGES_PER_CROP = {"paper": 1, "source2012": 32}


class Datasets(Closing):
    """Training batches and how they are prepared, and the validation set; a context manager."""

    def __init__(
        self, spec: JobSpec, replicas: Replicas, devices: tuple[torch.device, torch.device]
    ) -> None:
        """Open both. Raises ManifestError, ShardError, PlanError or BadSpecError."""
        with ExitStack() as opened:
            self.train = opened.enter_context(
                Reader(_train_plan(spec, replicas), num_processes=spec.data.num_loader_processes)
            )
            self.validation = opened.enter_context(ValidationSet(spec, replicas, devices))
            _check_cache(self.train, self.validation.reader)
            _check_outputs(spec, self.train)
            colour = Colour(
                self.train.manifest.rgb_pca, spec.augment.colour_strength, spec.model.recipe
            )
            self.prepare_train = Preprocess(
                self.validation.mean_image,
                colour,
                devices,
                self.validation.dtype,
                centre_mean=spec.model.recipe == "source2012",
            )
            self._opened = opened.pop_all()

    def close(self) -> None:
        """End the loaders of both."""
        self._opened.close()

    @property
    def steps_per_epoch(self) -> int:
        """⌈N / global batch⌉ of the training set."""
        return self.train.steps_per_epoch


def _train_plan(spec: JobSpec, replicas: Replicas) -> ReaderPlan:
    return ReaderPlan(
        location=set_location(spec.data.train),
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
        names_samples=spec.data.record_sample_keys,
    )


def _check_cache(*readers: Reader) -> None:
    # Each alone fits already; a pass over the one set shall not drop what is read of the other.
    needs = [need for reader in readers if (need := reader.cache_need) is not None]
    if needs:
        check_cache(needs, node_cache().max_bytes)


def _check_outputs(spec: JobSpec, train: Reader) -> None:
    num_classes = len(train.manifest.classes)
    if num_classes > spec.model.num_classes:
        raise BadSpecError(
            f"model.num_classes: the shards have {num_classes} classes, more than the network's "
            f"{spec.model.num_classes}; set it to {num_classes}"
        )
