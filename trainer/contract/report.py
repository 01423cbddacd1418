"""report.json, what a job came to; written by the attempt that succeeds."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter

from trainer.contract.checkpoint import DataDigests, Sha256, StartedFrom
from trainer.contract.events import CountsByReason, Ratio, SecondsByPhase, in_words
from trainer.contract.ilsvrc import IMAGE_SIZE, NUM_TRAINING_IMAGES, NUM_VALIDATION_IMAGES
from trainer.contract.model import Record
from trainer.contract.model_spec import ModelSpec
from trainer.contract.published import (
    COMPARED_SET,
    ComparedResult,
    PublishedAblation,
    compared,
)
from trainer.contract.spec import Protocol

# Recipes and their beginnings are told apart by no published row; a sixth convolution is, by name.
_IN_TABLE_2 = frozenset({"recipe", "num_classes", "sixth_conv", "init", "inverted_dropout"})


class Result(Record):
    """One pass over the validation set."""

    protocol: Protocol
    top1: Ratio = Field(description="Share right at the first guess.")
    top5: Ratio = Field(description="Share right within five guesses.")
    loss: float = Field(description="Nats.")
    num_samples: int


class DataFacts(Record):
    """What was trained on and measured on, by the manifests' own account."""

    source: str = Field(description="Kind of source that the validation images came from.")
    first_classes: tuple[str, ...] = Field(description="Names of the first five, by label.")
    num_classes: int
    has_ilsvrc_classes: bool = Field(description="Whether they are the 1000 of ILSVRC-2012.")
    num_training_images: int
    num_validation_images: int
    image_size: int = Field(description="Edge in pixels, as stored.")
    sha256: DataDigests


class BestEpoch(Record):
    """The evaluation with the highest top-1, by the centre crop; of equals the latest."""

    epoch: float
    step: int
    top1: Ratio
    top5: Ratio


class EvaluatedNetwork(Record):
    """One network of an evaluation, and what it does alone."""

    checkpoint: str = Field(description="Its folder.")
    job_id: str = Field(description="Whose checkpoint it is.")
    step: int
    weights_sha256: Sha256
    model: ModelSpec
    top1: Ratio
    top5: Ratio
    loss: float


class _Report(Record):
    """The result of a job and how it was reached."""

    job_id: str
    name: str
    attempts: int = Field(description="Attempts with a folder, this one included.")
    images_per_second: float = Field(
        description="Mean of the last attempt: trained, or in an evaluation measured, each once "
        "however many views and networks; in a calibration, over the steps that it measured."
    )
    seconds: float = Field(
        description="Of the last attempt, from its first step to here; in a calibration, of the "
        "steps that it measured."
    )


class _ScoredReport(_Report):
    """The result on the validation set, beside others."""

    protocol: Protocol = Field(
        default="centre_crop", description="Of top1, top5, validation_loss: evaluation.protocol."
    )
    top1: Ratio = Field(description="Share right at the first guess; the error is the rest.")
    top5: Ratio
    validation_loss: float = Field(description="Nats.")
    validation_samples: int
    data: DataFacts | None = Field(default=None, description="None in reports of release 0.1.")
    comparison: tuple[ComparedResult, ...] = Field(
        default=(), description="What was measured here, then what others have published."
    )
    notes: tuple[str, ...] = Field(
        default=(), description="What keeps the rows from being compared; empty: nothing known."
    )


class TrainingReport(_ScoredReport):
    """What training came to."""

    kind: Literal["train"] = "train"
    started_from: StartedFrom | None = Field(
        default=None, description="Where fine-tuning began; None: all weights were drawn."
    )
    steps: int
    epochs: float
    results: tuple[Result, ...] = Field(
        default=(), description="Of the final weights: by the centre crop, then by `protocol`."
    )
    best_epoch: BestEpoch | None = Field(default=None, description="Every epoch is an event.")
    steps_redone: int = Field(description="Trained again because a checkpoint was older.")
    samples_presented: int = Field(description="By the ledger, over all epochs.")
    samples_skipped: int = Field(
        description="Times that a sample was corrupt, and so weighed zero, over all epochs."
    )
    skipped_by_reason: CountsByReason = Field(
        default_factory=dict, description="The same by reason; empty in reports of release 0.1."
    )
    checkpoints: tuple[str, ...] = Field(description="Kept, latest first, relative to the run.")
    weights_sha256: str = Field(description="Of the final model.safetensors.")
    ablations: tuple[PublishedAblation, ...] = Field(
        default=(), description="What is published of the changes that the spec makes."
    )


class EvaluationReport(_ScoredReport):
    """What an evaluation of checkpoints came to: of one, or of several as an ensemble."""

    kind: Literal["evaluate"] = "evaluate"
    networks: tuple[EvaluatedNetwork, ...]
    skipped_by_reason: CountsByReason = Field(
        default_factory=dict,
        description="Validation samples that were corrupt, and so were measured by no network; "
        "empty in reports of release 0.1.",
    )


class CalibrationReport(_Report):
    """How fast a job trains, as measured in some steps of it that nothing was kept of."""

    kind: Literal["calibrate"] = "calibrate"
    steps: int = Field(description="Measured.")
    warm_up_steps: int = Field(description="That went before.")
    images: int = Field(description="Of the steps measured, over all replicas.")
    replicas: int
    accelerator: Literal["cpu", "gpu"]
    data_wait_ratio: Ratio = Field(description="Share of rank 0's time spent waiting for batches.")
    phase_seconds: SecondsByPhase = Field(
        description="Mean seconds of a step by phase, of rank 0's host."
    )


def _kind_of(document: Any) -> str:
    # Release 0.1 only trained, and did not say so.
    if isinstance(document, dict):
        return str(document.get("kind", "train"))
    return str(getattr(document, "kind", "train"))


Report = Annotated[
    Annotated[TrainingReport, Tag("train")]
    | Annotated[EvaluationReport, Tag("evaluate")]
    | Annotated[CalibrationReport, Tag("calibrate")],
    Discriminator(_kind_of),
]

_ADAPTER: TypeAdapter[Report] = TypeAdapter(Report)


def parse_report(text: str | bytes) -> Report:
    """Read a report from JSON. Raises ValidationError."""
    return _ADAPTER.validate_json(text)


def compare(
    network: str, num_networks: int, results: tuple[Result, ...], data: DataFacts
) -> tuple[ComparedResult, ...]:
    """Return our results, the last first, and the published rows below them."""
    ours = (
        ComparedResult(
            network=network,
            num_networks=num_networks,
            protocol=result.protocol,
            measured_on=_name_of(data),
            top1_error=1 - result.top1,
            top5_error=1 - result.top5,
            source="this job",
        )
        for result in reversed(results)
    )
    return (*ours, *compared())


def notes_on(data: DataFacts, num_samples: int, models: Sequence[ModelSpec]) -> tuple[str, ...]:
    """Say what keeps a result from being compared with the published rows."""
    return (
        *_notes_on_data(data, num_samples),
        *(_notes_on_beginnings(models) if data.has_ilsvrc_classes else ()),
        *_notes_on_outputs(models),
        *_notes_on_networks(models),
    )


def notes_on_ensemble(weights_sha256: Sequence[str]) -> tuple[str, ...]:
    """Say where networks of an ensemble are one, by the digests of their weights."""
    num_different = len(set(weights_sha256))
    if num_different == len(weights_sha256):
        return ()
    return (
        f"Of the {len(weights_sha256)} networks {num_different} "
        f"{'is' if num_different == 1 else 'are'} different: one that is named again counts again.",
    )


def notes_on_skipped(counts: CountsByReason) -> tuple[str, ...]:
    """Say how many validation images were not measured, and why."""
    total = sum(counts.values())
    if not total:
        return ()
    were = "image could not be read and was" if total == 1 else "images could not be read and were"
    return (f"{total:,} validation {were} not measured: {in_words(counts)}.",)


def note_on_classes(num_classes: int) -> str:
    """Say why results on other classes than ILSVRC-2012's are not compared."""
    return (
        f"The {num_classes} classes of these data are not the 1,000 of ILSVRC-2012: the published "
        "rows are of another problem, and no comparison with them is claimed."
    )


def _notes_on_data(data: DataFacts, num_samples: int) -> Iterator[str]:
    if not data.has_ilsvrc_classes:
        yield note_on_classes(data.num_classes)
        return
    if data.num_training_images != NUM_TRAINING_IMAGES:
        yield (
            f"The networks of the published rows were trained on {NUM_TRAINING_IMAGES:,} images, "
            f"data.train holds {data.num_training_images:,}."
        )
    if num_samples != NUM_VALIDATION_IMAGES:
        yield (
            f"The published rows are of {NUM_VALIDATION_IMAGES:,} validation images, "
            f"{num_samples:,} were measured here."
        )
    if data.image_size != IMAGE_SIZE:
        yield (
            f"The published rows are of images of {IMAGE_SIZE} pixels, these have "
            f"{data.image_size}."
        )


def _notes_on_outputs(models: Iterable[ModelSpec]) -> Iterator[str]:
    fewest = min((model.num_classes for model in models), default=None)
    if fewest is not None and fewest <= 5:
        yield f"Five guesses of {fewest} classes are always right: the top-5 error says nothing."


def _notes_on_beginnings(models: Iterable[ModelSpec]) -> Iterator[str]:
    if any(model.sixth_conv for model in models):
        yield (
            "The published CNN* learned the categories of ImageNet's Fall 2011 release before the "
            "1,000 (section 6.1 of the paper); what a CNN* here began with, its own report says."
        )


def _notes_on_networks(models: Iterable[ModelSpec]) -> Iterator[str]:
    changes = {_changes(model): None for model in models}
    for change in changes:
        if change:
            yield f"The network is not the paper's: {', '.join(change)}."


def _changes(model: ModelSpec) -> tuple[str, ...]:
    papers = ModelSpec()
    return tuple(
        f"{field} is {getattr(model, field)}"
        for field in ModelSpec.model_fields
        if field not in _IN_TABLE_2 and getattr(model, field) != getattr(papers, field)
    )


def _name_of(data: DataFacts) -> str:
    if data.has_ilsvrc_classes:
        return COMPARED_SET
    return f"data.validation, {data.num_classes} classes"
