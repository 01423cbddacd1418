"""The job specification: everything that decides what a run computes.

Defaults are the paper's (Krizhevsky, Sutskever & Hinton, NIPS 2012); each names its section.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from trainer.contract.model import Record
from trainer.contract.model_spec import LayerName, ModelSpec
from trainer.contract.optim_spec import OptimSpec
from trainer.contract.spec_error import SpecError

SPEC_VERSION: Literal[1] = 1

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ._-]{0,80}$")]
Priority = Annotated[int, Field(ge=-100, le=100)]
MAX_LOCATION_CHARACTERS = 1024
Location = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LOCATION_CHARACTERS)]

Protocol = Literal["centre_crop", "ten_view"]


class DataSpec(Record):
    """Where the images are, and how their order is cut into streams."""

    train: Location = Field(
        description="Manifest of the training shards: path of manifest.json, or its URL, such as "
        "s3://bucket/train/manifest.json."
    )
    validation: Location = Field(description="Manifest of the validation shards.")
    num_streams: int = Field(
        default=8,
        ge=1,
        le=4096,
        description="Equal streams the epoch is cut into; divides the global batch.",
    )
    window: int = Field(
        default=4, ge=1, le=1024, description="Shards inside which a stream's samples are shuffled."
    )
    corrupt_sample_limit: int = Field(
        default=100,
        ge=0,
        description="Distinct samples, of training and validation, that may be unreadable (each "
        "weighs zero) before the attempt fails.",
    )
    num_loader_processes: int = Field(
        default=1, ge=1, le=64, description="Decoding processes of each replica."
    )
    record_sample_keys: bool = Field(
        default=False,
        description="Record in the ledgers each step's samples by key too (SHARD:KEY), not only by "
        "number: which images a checkpoint has seen is then to be read without the shards.",
    )


class AugmentSpec(Record):
    """The paper's two forms of augmentation (section 4.1)."""

    crop: bool = Field(default=True, description="Random crop; else the centre one.")
    mirror: bool = Field(default=True, description="Random horizontal reflection.")
    colour_strength: float = Field(
        default=0.1, ge=0, le=10, description="Standard deviation of the PCA colour α; 0 is off."
    )


class ScaleSpec(Record):
    """How many replicas, on what."""

    replicas: int = Field(
        default=1, ge=1, le=1024, description="Copies in data parallel; divides num_streams."
    )
    devices_per_replica: Literal[1, 2] = Field(
        default=2, description="GPUs of a replica: one per tower, or both towers on one."
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="auto: gpu if the cluster has any, else cpu."
    )
    cpus_per_replica: int = Field(
        default=1, ge=1, le=256, description="CPU cores reserved; on cpu also the torch threads."
    )


class CheckpointSpec(Record):
    """When a checkpoint is written; one is always written at the end of an epoch."""

    interval_steps: int | None = Field(
        default=None, ge=1, description="Also every so many steps. None: only at ends of epochs."
    )
    keep_last: int = Field(default=3, ge=1, le=1000, description="Latest checkpoints kept.")
    keep_best: bool = Field(default=True, description="Keep the one with least top-1 error too.")
    allow_other_kernels: bool = Field(
        default=False,
        description="Go on from a checkpoint although LRN is computed by another kernel here (on "
        "another kind of device, or without g++), so that the last bits will differ. Off: refuse.",
    )


class RetrySpec(Record):
    """When an attempt is taken for failed, and when and how often another follows."""

    max_attempts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Failures in a row, with no new checkpoint between them, that end the job.",
    )
    backoff_s: float = Field(
        default=2.0, ge=0, le=3600, description="Wait before the second attempt; doubles each time."
    )
    max_backoff_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="Longest wait, but for up to a tenth that is added to each.",
    )
    hang_factor: float | None = Field(
        default=10.0,
        ge=2,
        le=10_000,
        description="An attempt hangs, and is ended, when a step takes so many times the median "
        "one. None: nobody looks.",
    )
    hang_floor_s: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="A step that takes less is never a hang. Waits for data do not count: loaders "
        "bear a store that is slow and give up by themselves where it is down; they hang where "
        "nothing at all arrives for half an hour, or, of local shards, for as long as the largest "
        "takes at 256 KiB a second, at most an hour. A replica that tells nothing for twice as "
        "long, a minute at least, while nothing moves is frozen, before the first step too, and "
        "each stage of the start may take a quarter of an hour.",
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=31_622_400,
        description="The job ends so long after it was accepted, waits and pauses included: after "
        "a last checkpoint, and as failed unless it is done. None: whenever it is done.",
    )


class InitFrom(Record):
    """Begin with the weights of a checkpoint instead of drawn ones: fine-tuning."""

    checkpoint: Location = Field(
        description="Folder of a checkpoint; or job:ID for a job's latest when this is accepted, "
        "job:ID@STEP for another. Of a checkpoint in its run root the service keeps what it needs "
        "with the new job, even if the job that wrote it deletes it; another is left where it is."
    )
    new_layers: tuple[LayerName, ...] = Field(
        default=(),
        description="Drawn anew: fc8 for other classes; all that the checkpoint lacks or has in "
        "another shape must be among them.",
    )


class EvaluationSpec(Record):
    """How results are measured (paper section 4.1 and 6.1)."""

    protocol: Protocol = Field(
        default="ten_view",
        description="Of the result at the end of a job: five crops and their mirrors, softmaxes "
        "averaged, or the centre crop alone. At the end of every epoch it is the centre crop. "
        "Ten views are mirrored whatever augment.mirror says: where mirrors are other things, take "
        "centre_crop.",
    )
    checkpoints: tuple[Location, ...] = Field(
        default=(),
        max_length=64,
        description="For kind = evaluate: whose softmaxes are averaged, an ensemble if several. "
        "Each a folder, or job:ID, or job:ID@STEP, as in init_from.",
    )


class CalibrationSpec(Record):
    """How long kind = calibrate trains to measure how fast a job like it will train."""

    warm_up_steps: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Steps that go before and are not measured, at most; in them kernels are "
        "compiled, and what loaders had ready is used up.",
    )
    steps: int = Field(default=1000, ge=1, le=100_000, description="Steps measured, at most.")
    seconds: float = Field(
        default=30.0,
        ge=0.1,
        # Nobody is asked to make room in the first 300 s, and a calibration that is begins again.
        le=120,
        description="The warm-up ends after so long, and so do the measured steps; one of each is "
        "taken however long it takes.",
    )


class JobSpec(Record):
    """A training job. The same spec on the same kind of hardware gives the same weights."""

    version: Literal[1] = Field(default=SPEC_VERSION, description="Version of this format.")
    name: Name = Field(description="For people; need not be unique.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Free key-value pairs to filter by."
    )
    priority: Priority = Field(default=0, description="Higher goes first.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of every random draw.")
    kind: Literal["train", "evaluate", "calibrate"] = Field(
        default="train",
        description="What the job does; evaluate measures evaluation.checkpoints on "
        "data.validation; calibrate measures how fast the job would train, in some steps that "
        "nothing is kept of.",
    )
    data: DataSpec
    model: ModelSpec = ModelSpec()
    optim: OptimSpec = OptimSpec()
    augment: AugmentSpec = AugmentSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    init_from: InitFrom | None = Field(
        default=None, description="None: weights are drawn, see model.init."
    )
    scale: ScaleSpec = ScaleSpec()
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="Arithmetic of the towers; weights and updates stay fp32."
    )
    checkpoint: CheckpointSpec = CheckpointSpec()
    retry: RetrySpec = RetrySpec()

    @field_validator("name")
    @classmethod
    def _no_trailing_space(cls, name: str) -> str:
        return name.strip()

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        batch, streams, replicas = (
            self.optim.global_batch_size,
            self.data.num_streams,
            self.scale.replicas,
        )
        if batch % streams:
            raise SpecError(
                "optim.global_batch_size",
                f"{batch} is not divisible by data.num_streams = {streams}; "
                f"use a multiple of {streams}, or streams that divide {batch}",
            )
        if streams % replicas:
            raise SpecError(
                "data.num_streams",
                f"{streams} is not divisible by scale.replicas = {replicas}; "
                f"{_mend_of_streams(batch, replicas)}",
            )
        micro = self.optim.micro_batch_size
        if micro is not None and (batch // replicas) % micro:
            raise SpecError(
                "optim.micro_batch_size",
                f"{micro} does not divide a replica's batch of {batch // replicas} "
                f"(global batch {batch} over {replicas} replicas)",
            )
        return self

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "evaluate" and not self.evaluation.checkpoints:
            raise SpecError(
                "evaluation.checkpoints", "name at least one: there is nothing to evaluate"
            )
        if self.kind != "evaluate" and self.evaluation.checkpoints:
            raise SpecError(
                "evaluation.checkpoints",
                "only kind = evaluate reads them; leave them out, or begin from one by init_from",
            )
        if self.kind == "evaluate" and self.init_from is not None:
            raise SpecError(
                "init_from",
                "an evaluation trains nothing; name the checkpoint in evaluation.checkpoints",
            )
        return self

    @model_validator(mode="after")
    def _has_its_new_layers(self) -> Self:
        absent = {self.model.removed_layer, None if self.model.sixth_conv else "conv6"}
        for layer in self.init_from.new_layers if self.init_from else ():
            if layer in absent:
                raise SpecError(
                    "init_from.new_layers",
                    f"the network of model has no {layer} to draw; leave it out",
                )
        return self

    @model_validator(mode="after")
    def _has_a_device_a_tower(self) -> Self:
        if self.scale.devices_per_replica > self.model.towers:
            raise SpecError(
                "scale.devices_per_replica",
                "a network of one tower computes on one device; set it to 1",
            )
        return self

    @property
    def replica_batch_size(self) -> int:
        """Samples each replica takes of a global batch."""
        return self.optim.global_batch_size // self.scale.replicas

    def sha256(self) -> str:
        """Digest of what decides the weights, beyond the order of floating-point sums.

        Not of where the data lie, or the checkpoint to begin with: the run's own checkpoints hold
        digests of the data and of those weights themselves.
        """
        decisive = self.model_dump(mode="json", exclude=_NOT_DECISIVE)
        return hashlib.sha256(canonical_json(decisive)).hexdigest()


# What may change between two attempts without another job beginning.
_NOT_DECISIVE: Mapping[str, bool | set[str]] = {
    "name": True,
    "labels": True,
    "priority": True,
    "data": {
        "train",
        "validation",
        "corrupt_sample_limit",
        "num_loader_processes",
        "record_sample_keys",
    },
    "optim": {"micro_batch_size"},
    "evaluation": True,
    "calibration": True,
    "init_from": {"checkpoint"},
    "scale": True,
    "checkpoint": True,
    "retry": True,
}


def _mend_of_streams(batch: int, replicas: int) -> str:
    if batch % replicas:
        larger = batch + replicas - batch % replicas
        return (
            f"nor is the global batch {batch}, so use replicas that divide it, "
            f"or optim.global_batch_size = {larger} with {replicas} streams or a multiple of them"
        )
    return f"use a multiple of {replicas} that divides the global batch {batch}"


def canonical_json(document: object) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
