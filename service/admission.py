"""Whether a request can be accepted: the spec alone, then the spec against its manifests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_shards.manifest import MANIFEST_NAME, Manifest, ManifestError, load_manifest
from service.problems import FieldError, SpecRefusedError, field_errors
from trainer.contract.presets import UnknownPresetError, expand_preset
from trainer.contract.spec import DataSpec, JobSpec


def admit_request(request: Mapping[str, Any], roots: Sequence[Path]) -> JobSpec:
    """Return the whole spec of a request, with the true paths of its manifests.

    Raises SpecRefusedError, which names every field at fault and its mend.
    """
    try:
        document = expand_preset(request)
    except UnknownPresetError as error:
        raise SpecRefusedError([FieldError(field="preset", message=str(error))]) from error
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        raise SpecRefusedError(field_errors(error, document)) from error
    paths: dict[str, Path] = {}
    manifests: dict[str, Manifest] = {}
    errors: list[FieldError] = []
    for split in ("train", "validation"):
        try:
            paths[split] = confine(getattr(spec.data, split), roots)
            manifests[split] = load_manifest(paths[split])
        except ManifestError as error:
            errors.append(FieldError(field=f"data.{split}", message=str(error)))
    if not errors:
        errors = check_data(spec, manifests["train"], manifests["validation"])
    if errors:
        raise SpecRefusedError(errors)
    data = spec.data.model_dump() | {split: str(path) for split, path in paths.items()}
    return spec.model_copy(update={"data": DataSpec.model_validate(data)})


def confine(location: str, roots: Sequence[Path]) -> Path:
    """Return the true path of a manifest, links resolved; raise ManifestError outside the roots."""
    if "://" in location:
        raise ManifestError(f"{location!r} is a URL; this release reads local paths only")
    try:
        true = _find(Path(location), roots).resolve()
        if true.is_dir():
            true = (true / MANIFEST_NAME).resolve()
        inside = any(true.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError) as error:
        raise ManifestError(f"{location!r} is not a usable path: {error}") from error
    if not inside:
        raise ManifestError(
            f"{location!r} lies outside the data roots ({', '.join(map(str, roots))}); "
            "move the shards there, or have the operator add their folder to ALEXNET_DATA_ROOTS"
        )
    return true


def _find(path: Path, roots: Sequence[Path]) -> Path:
    # A relative path is one below a data root, the first that has it.
    candidates = [root / path for root in roots]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


def check_data(spec: JobSpec, train: Manifest, validation: Manifest) -> list[FieldError]:
    """Hold the spec against what the manifests describe."""
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
    if [entry.name for entry in validation.classes] != [entry.name for entry in train.classes]:
        errors.append(
            FieldError(
                field="data.validation",
                message="its classes are not those of data.train, so its labels mean others; "
                "pack both splits with the same classes",
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
    if validation.image_size != train.image_size:
        errors.append(
            FieldError(
                field="data.validation",
                message=f"its images have {validation.image_size} pixels, those of data.train "
                f"{train.image_size}, whose mean image is taken from both; pack them alike",
            )
        )
    return errors
