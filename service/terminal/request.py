"""The body of `POST /jobs`, put together from a file and options."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_shards.storage.location import is_url
from service.errors import UserError


class RequestError(UserError):
    """The options do not make a request; the message says which and why."""


def build_request(
    file: Path | None,
    *,
    preset: str | None,
    name: str | None,
    train: str | None,
    validation: str | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Read the file, if any, and lay the options over it. The service judges the whole."""
    request = {} if file is None else _read(file)
    if preset is not None:
        request["preset"] = preset
    if name is not None:
        request["name"] = name
    for split, location in (("train", train), ("validation", validation)):
        if location is not None:
            # Paths mean what they mean here, wherever the service was started.
            here = location if is_url(location) else str(Path(location).absolute())
            _set(request, f"data.{split}", here)
    _lay_over(request, settings)
    request.setdefault("name", request.get("preset", "job"))
    return request


def build_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Return the changes of a clone; null takes a field back to its default."""
    changes: dict[str, Any] = {}
    _lay_over(changes, settings)
    return changes


def _lay_over(request: dict[str, Any], settings: Sequence[str]) -> None:
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not field:
            raise RequestError(f"--set {setting}: write FIELD=VALUE, such as optim.epochs=3")
        _set(request, field, _value(value))


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise RequestError(f"{file} is not a JSON object")
    return document


def _set(request: dict[str, Any], field: str, value: Any) -> None:
    *parents, last = field.split(".")
    below = request
    for parent in parents:
        below = below.setdefault(parent, {})
        if not isinstance(below, dict):
            raise RequestError(f"--set {field}: {parent} is not a group of fields")
    below[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
