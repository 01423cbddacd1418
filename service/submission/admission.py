"""Whether a request can be accepted: the spec alone, then the spec against what it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from data_shards.manifest import MANIFEST_NAME, Manifest, ManifestError
from service.problems import FieldError, SpecRefusedError, field_errors
from service.submission.checkpoint_finder import CheckpointFinder, NoSuchCheckpointError
from service.submission.manifests import read_manifest
from trainer.contract.bounds import MAX_STEP
from trainer.contract.checkpoint_folder import Checkpoint, CheckpointError
from trainer.contract.checkpoint_reference import named_checkpoints, with_checkpoints
from trainer.contract.confinement import ConfinementError, confined_location
from trainer.contract.ensemble import MeasuredData, check_member
from trainer.contract.presets import UnknownPresetError, expand_preset
from trainer.contract.spec import DataSpec, JobSpec
from trainer.contract.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A request that can become a job."""

    spec: JobSpec
    """Whole, with true paths, or URLs, of what it names."""
    train: Manifest
    validation: Manifest


def admit_request(
    request: Mapping[str, Any], roots: Sequence[str], finder: CheckpointFinder
) -> Admitted:
    """Return the whole spec of a request, with the manifests that it names.

    Blocks while it reads the manifests. Raises SpecRefusedError, which names every field at fault
    and its mend; StoreBusyError where too many wait for object stores.
    """
    try:
        document = expand_preset(request)
    except UnknownPresetError as error:
        raise SpecRefusedError([FieldError(field="preset", message=str(error))]) from error
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        raise SpecRefusedError(field_errors(error, document)) from error
    files: dict[str, str] = {}
    manifests: dict[str, Manifest] = {}
    checkpoints: dict[str, Checkpoint] = {}
    errors: list[FieldError] = []
    for split in ("train", "validation"):
        try:
            files[split] = confine(getattr(spec.data, split), roots)
            manifests[split] = read_manifest(files[split])
        except ManifestError as error:
            errors.append(FieldError(field=f"data.{split}", message=str(error)))
    for field, location in named_checkpoints(spec):
        try:
            checkpoints[field] = finder.find(location)
        except NoSuchCheckpointError as error:
            errors.append(FieldError(field=field, message=str(error)))
    if not errors:
        errors = check_data(spec, manifests["train"], manifests["validation"])
        if spec.kind == "evaluate":
            errors += check_networks(spec, checkpoints, manifests["train"])
        if spec.init_from is not None:
            errors += check_classifier(spec, checkpoints["init_from.checkpoint"])
    if errors:
        raise SpecRefusedError(errors)
    data = spec.data.model_dump() | files
    spec = spec.model_copy(update={"data": DataSpec.model_validate(data)})
    folders = {field: str(one.folder) for field, one in checkpoints.items()}
    return Admitted(spec=with_checkpoints(spec, folders), **manifests)


def confine(location: str, roots: Sequence[str]) -> str:
    """Return a manifest's URL, or true path; raise ManifestError outside the roots."""
    mend = "move the shards there, or have the operator add their folder to ALEXNET_DATA_ROOTS"
    try:
        return confined_location(location, roots, MANIFEST_NAME, mend=mend)
    except ConfinementError as error:
        raise ManifestError(str(error)) from error


def check_data(spec: JobSpec, train: Manifest, validation: Manifest) -> list[FieldError]:
    """Hold the spec against what the manifests describe."""
    # An evaluation's networks are those of its checkpoints.
    errors = _check_model(spec, train) if spec.kind != "evaluate" else []
    errors += _check_steps(spec, train) if spec.kind == "train" else []
    if validation.classes != train.classes:
        errors.append(
            FieldError(
                field="data.validation",
                message="its classes are not those of data.train, so its labels mean others; "
                "pack both splits with the same classes",
            )
        )
    if validation.image_size != train.image_size:
        errors.append(
            FieldError(
                field="data.validation",
                message=f"its images have {validation.image_size} pixels, those of data.train "
                f"{train.image_size}, whose mean image is taken from both; pack them alike",
            )
        )
    return errors


def check_networks(
    spec: JobSpec, checkpoints: Mapping[str, Checkpoint], train: Manifest
) -> list[FieldError]:
    """Hold the networks of an evaluation against the data and against one another."""
    data = MeasuredData(
        train_sha256=train.content_sha256(),
        num_classes=len(train.classes),
        image_size=train.image_size,
    )
    models = {field: one.manifest.model or spec.model for field, one in checkpoints.items()}
    first = next(iter(models.values()))
    errors = []
    for field, checkpoint in checkpoints.items():
        try:
            check_member(checkpoint, models[field], data, first=first)
        except CheckpointError as error:
            errors.append(FieldError(field=field, message=str(error)))
    return errors


def check_classifier(spec: JobSpec, checkpoint: Checkpoint) -> list[FieldError]:
    """Hold a network's outputs against those of the checkpoint that it begins with.

    The other layers are compared where an attempt reads them.
    """
    model = checkpoint.manifest.model
    new_layers = spec.init_from.new_layers if spec.init_from else ()
    if model is None or model.num_classes == spec.model.num_classes or "fc8" in new_layers:
        return []
    return [
        FieldError(
            field="init_from.new_layers",
            message=f"the checkpoint has {model.num_classes} outputs, and the network of model "
            f'{spec.model.num_classes}; draw its classifier anew by new_layers = ["fc8"], or set '
            "model.num_classes as in the checkpoint",
        )
    ]


def _check_model(spec: JobSpec, train: Manifest) -> list[FieldError]:
    errors = []
    num_classes = len(train.classes)
    if num_classes > spec.model.num_classes:
        errors.append(
            FieldError(
                field="model.num_classes",
                message=f"{spec.model.num_classes} outputs are too few for the {num_classes} "
                f"classes of data.train; use {num_classes} or more",
            )
        )
    if spec.model.input_size > train.image_size:
        errors.append(
            FieldError(
                field="model.input_size",
                message=f"crops of {spec.model.input_size} pixels do not fit into images of "
                f"{train.image_size}; use {train.image_size} or less, or pack larger images",
            )
        )
    return errors


def _check_steps(spec: JobSpec, train: Manifest) -> list[FieldError]:
    steps_per_epoch = -(-train.num_samples // spec.optim.global_batch_size)
    steps = Timetable.of(spec, steps_per_epoch=steps_per_epoch).planned_steps
    if steps <= MAX_STEP:
        return []
    return [
        FieldError(
            field="optim.epochs",
            message=f"{steps:,} steps are more than a job may have, {MAX_STEP:,}; use "
            f"{MAX_STEP // steps_per_epoch:,} or less, set optim.max_steps, or raise "
            "optim.global_batch_size",
        )
    ]
