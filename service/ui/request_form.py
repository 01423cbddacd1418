"""The form that a job is submitted by: its fields, and the request that they come to. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from service.problems import FieldError
from trainer.contract.presets import PRESETS
from trainer.contract.spec import JobSpec

# What the spec says of it is not said of a preset and a job.
_OWN_HELP = {
    "preset": "Where the fields that are left empty come from.",
    "labels": "KEY=VALUE to filter by, as in team=vision; several with commas between.",
    "private": "Others than you and admins are told that there is no such job.",
}
_LABELS_MEND = "write KEY=VALUE, as in team=vision, each key once; several with commas between"


class RequestError(ValueError):
    """What was pasted is no request; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of the form. `path` is the spec's, with dots."""

    path: str
    label: str
    options: Sequence[str] = ()
    is_required: bool = False
    is_number: bool = False
    is_location: bool = False


FIELDS: Sequence[Field] = (
    Field(path="name", label="Name", is_required=True),
    Field(path="preset", label="Preset", options=tuple(PRESETS)),
    Field(path="data.train", label="Training data", is_required=True, is_location=True),
    Field(path="data.validation", label="Validation data", is_required=True, is_location=True),
    Field(path="optim.epochs", label="Epochs", is_number=True),
    Field(path="optim.global_batch_size", label="Global batch size", is_number=True),
    Field(path="optim.learning_rate", label="Learning rate", is_number=True),
    Field(path="seed", label="Seed", is_number=True),
    Field(path="scale.replicas", label="Replicas", is_number=True),
    Field(path="scale.devices_per_replica", label="Devices of a replica", options=("1", "2")),
    Field(path="scale.accelerator", label="Accelerator", options=("auto", "cpu", "gpu")),
    Field(path="priority", label="Priority", is_number=True),
    Field(path="labels", label="Labels"),
)


@dataclass(frozen=True, kw_only=True)
class ShownField:
    """A field with what was written into it, and what is wrong with that."""

    field: Field
    help: str
    value: str
    errors: Sequence[str] = ()


def shown_fields(
    values: Mapping[str, str], errors: Iterable[FieldError] = ()
) -> tuple[list[ShownField], list[FieldError]]:
    """Return the form as it was filled in, and the errors of what it has no field for."""
    of_field: dict[str, list[str]] = {field.path: [] for field in FIELDS}
    others = []
    for error in errors:
        path = next((one for one in of_field if _is_of(error.field, one)), None)
        if path is None:
            others.append(error)
        else:
            of_field[path].append(error.message)
    if of_field["labels"] and _labels(values.get("labels", "")) is None:
        # The spec speaks of objects, of which the form has none.
        of_field["labels"] = [_LABELS_MEND]
    shown = [
        ShownField(
            field=field,
            help=_help(field.path),
            value=values.get(field.path, ""),
            errors=of_field[field.path],
        )
        for field in FIELDS
    ]
    return shown, others


def request_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the request that a filled form comes to; what is left empty is left out.

    What is no number, and labels that are none, stay texts, which the spec refuses.
    """
    request: dict[str, Any] = {}
    for field in FIELDS:
        text = values.get(field.path, "").strip()
        if text:
            _put(request, field.path.split("."), _value(field, text))
    if values.get("private"):
        request["private"] = True
    return request


def values_of(request: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return how the form is filled in that comes to a request, and the keys that it cannot tell.

    Without a preset a request begins from the paper's, which the form begins with.
    """
    values: dict[str, str] = {}
    untold: list[str] = []
    for path, value in _leaves(request):
        field, text = _BY_PATH.get(path), _text(value)
        if path == ("private",) and isinstance(value, bool):
            values |= {"private": "yes"} if value else {}
        elif field is not None and text is not None and _tells(field, text, value):
            values[field.path] = text
        else:
            untold.append(".".join(path))
    return values, untold


def why_untold(key: str) -> str:
    """Say why the form cannot tell a key of a request."""
    has_field = key == "private" or tuple(key.split(".")) in _BY_PATH
    why = "the form's field cannot hold this" if has_field else "the form has no field for this"
    return f"{why}; submit it by its spec"


def read_request(text: str) -> dict[str, Any]:
    """Return a request that was pasted. Raises RequestError."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"this is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError("this is nested too deeply, or has too long a number") from error
    if not isinstance(document, dict):
        raise RequestError("this is not a JSON object, { ... }")
    return document


_BY_PATH = {tuple(field.path.split(".")): field for field in FIELDS}
_GROUPS = frozenset(path[0] for path in _BY_PATH if len(path) > 1)


def _leaves(request: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what the form could have a field for, by its path; of other groups the whole."""
    for key, value in request.items():
        if key in _GROUPS and isinstance(value, Mapping):
            yield from (((key, name), one) for name, one in value.items())
        else:
            yield (key,), value


def _text(value: Any) -> str | None:
    """Write a value as a form has it; None: no form has such."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    is_told = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value) if is_told else None


def _tells(field: Field, text: str, value: Any) -> bool:
    """Whether a text in a field comes to just that value again."""
    is_choice = not field.options or text in field.options
    return is_choice and _value(field, text.strip()) == value


def _is_of(wrong: str, path: str) -> bool:
    return wrong == path or wrong.startswith(f"{path}.")


def _put(request: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *groups, name = path
    for group in groups:
        request = request.setdefault(group, {})
    request[name] = value


def _value(field: Field, text: str) -> Any:
    if field.path == "labels":
        found = _labels(text)
        return text if found is None else found
    is_number = field.is_number or field.path == "scale.devices_per_replica"
    return _number(text) if is_number else text


def _labels(text: str) -> dict[str, str] | None:
    """Return labels by their keys; None: some are not written KEY=VALUE, or a key comes twice."""
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    found = {key.strip(): value.strip() for key, is_, value in pairs if is_}
    return found if len(found) == len(pairs) else None


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _help(path: str) -> str:
    """Return what the spec says of a field."""
    if path in _OWN_HELP:
        return _OWN_HELP[path]
    model: type[BaseModel] = JobSpec
    *groups, name = path.split(".")
    for group in groups:
        below = model.model_fields[group].annotation
        assert isinstance(below, type)
        assert issubclass(below, BaseModel)
        model = below
    return model.model_fields[name].description or ""
