"""How fast a job will train, by the finished job or calibration most like it. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from trainer.contract.layers import layers
from trainer.contract.model_spec import ModelSpec
from trainer.contract.spec import JobSpec

# Beyond this factor in work, batch or replicas another job's rate says nothing (assumed).
_FARTHEST = math.log(1.5)
# What else may decide how fast a job is. Of several as near as each other that one is taken that
# differs in the fewest.
_CONDITIONS = (
    "data.train",
    "data.num_loader_processes",
    "augment.crop",
    "augment.mirror",
    "model.recipe",
    "model.towers",
    "model.column_communication",
    "model.activation",
    "model.lrn",
    "model.overlapping_pool",
    "model.dropout",
)


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    """A job that has trained to its end, or a calibration, and how fast it was."""

    id: str
    spec: JobSpec
    accelerator: str
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """A job that is like another."""

    job: FinishedJob
    differs: tuple[str, ...]
    """In what, with both values; empty: in nothing that is compared."""


def nearest_first(
    spec: JobSpec, accelerator: str, finished: Iterable[FinishedJob]
) -> list[Nearest]:
    """Return the finished jobs that are like it, the nearest first, of several as they come.

    `finished`: the newest first, jobs that trained and calibrations alike.
    Alike are accelerator, precision, and devices or cores of a replica; near are the work an image
    takes, a replica's batch, and the replicas. Of which type its GPUs were is not known.
    """
    near = [
        (distance, one)
        for one in finished
        if one.images_per_second > 0 and _is_alike(spec, accelerator, one)
        if (distance := _distance(spec, one.spec)) is not None
    ]
    near.sort(key=lambda pair: (pair[0], len(_other_conditions(spec, pair[1].spec))))
    return [Nearest(job=job, differs=_differences(spec, job.spec)) for _, job in near]


def _is_alike(spec: JobSpec, accelerator: str, other: FinishedJob) -> bool:
    if (accelerator, spec.precision) != (other.accelerator, other.spec.precision):
        return False
    if accelerator == "gpu":
        return spec.scale.devices_per_replica == other.spec.scale.devices_per_replica
    return spec.scale.cpus_per_replica == other.spec.scale.cpus_per_replica


def _distance(spec: JobSpec, other: JobSpec) -> float | None:
    pairs = zip(_measures(spec).values(), _measures(other).values(), strict=True)
    distances = [abs(math.log(ours / theirs)) for ours, theirs in pairs]
    return None if max(distances) > _FARTHEST else sum(distances)


def _differences(spec: JobSpec, other: JobSpec) -> tuple[str, ...]:
    theirs = _measures(other)
    measures = (
        f"{name} ({theirs[name]:,} there, {value:,} here)"
        for name, value in _measures(spec).items()
        if value != theirs[name]
    )
    return (*measures, *_other_conditions(spec, other))


def _other_conditions(spec: JobSpec, other: JobSpec) -> tuple[str, ...]:
    values = ((name, attrgetter(name)(other), attrgetter(name)(spec)) for name in _CONDITIONS)
    return tuple(
        f"{name} ({theirs} there, {ours} here)" for name, theirs, ours in values if theirs != ours
    )


def _measures(spec: JobSpec) -> dict[str, int]:
    return {
        "multiply-adds of an image": multiply_adds(spec.model),
        "batch of a replica": spec.replica_batch_size,
        "images at once": spec.optim.micro_batch_size or spec.replica_batch_size,
        "replicas": spec.scale.replicas,
    }


def multiply_adds(model: ModelSpec) -> int:
    """Return the multiply-adds of a forward pass, per image."""
    return sum(layer.num_multiply_adds for layer in layers(model))
