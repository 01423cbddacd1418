"""RFC 9457 problem documents: the one form in which the API says that something is wrong."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trainer.contract.spec import SpecError

MEDIA_TYPE = "application/problem+json"


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


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Name the fields that pydantic found at fault."""
    return tuple(_field_error(details) for details in error.errors(include_url=False))


def _field_error(details: ErrorDetails) -> FieldError:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):
        return FieldError(field=cause.field, message=cause.message)
    field = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return FieldError(field=field, message="there is no such field; remove it")
    if details["type"] == "missing":
        return FieldError(field=field, message="this field is required; add it")
    return FieldError(field=field, message=details["msg"])
