"""RFC 9457 problem documents: the one form in which the API says that something is wrong."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trainer.contract.problem import PROBLEM_MEDIA_TYPE
from trainer.contract.spec_error import SpecError

MEDIA_TYPE = PROBLEM_MEDIA_TYPE


class FieldError(BaseModel):
    """One field and its mend."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="Path of the field, with dots; empty for the whole body.")
    message: str = Field(description="What is wrong with it and what would be right.")


class Problem(BaseModel):
    """Body of every answer that is an error."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()


class SpecRefusedError(ValueError):
    """A spec cannot be accepted; carries every field at fault."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = tuple(errors)


def field_errors(error: ValidationError, document: object) -> tuple[FieldError, ...]:
    """Name the fields of `document` that pydantic found at fault."""
    return tuple(_field_error(details, document) for details in error.errors(include_url=False))


def _field_error(details: ErrorDetails, document: object) -> FieldError:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):
        return FieldError(field=cause.field, message=cause.message)
    field = _path(details["loc"], document)
    match details["type"]:
        case "extra_forbidden":
            message = "there is no such field; remove it"
        case "missing":
            message = "this field is required; add it"
        case "model_type" | "model_attributes_type" | "dict_type":
            message = "this is a group of fields; write an object, { ... }"
        case "tuple_type":
            message = "this is a list; write [ ... ]"
        case _:
            message = details["msg"]
    return FieldError(field=field, message=message)


def _path(location: Sequence[int | str], document: object) -> str:
    """Join a location with dots, without the tags of unions that pydantic puts in between."""
    parts: list[str] = []
    below = document
    for part in location:
        if isinstance(below, Mapping) and part not in below and part != location[-1]:
            continue
        parts.append(str(part))
        below = _below(below, part)
    return ".".join(parts)


def _below(document: object, part: int | str) -> object:
    if isinstance(document, Mapping):
        return document.get(part)
    if isinstance(document, Sequence) and isinstance(part, int):
        return document[part]
    return None
