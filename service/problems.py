"""RFC 9457 problem documents: the one form in which the API says that something is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trainer.contract.problem import PROBLEM_MEDIA_TYPE
from trainer.contract.spec_error import SpecError

MEDIA_TYPE = PROBLEM_MEDIA_TYPE
# Fields at fault that one answer names: nobody reads more.
MAX_TOLD = 100


class ProblemType(StrEnum):
    """What can be wrong: the `type` of a problem, which never changes its meaning.

    Each with its usual status and a summary, the `title`; docs/problems.md says what to do.
    """

    status: int
    summary: str

    def __new__(cls, name: str, status: int, summary: str) -> Self:
        """Make the type of a name; its value is the URN."""
        urn = f"urn:alexnet:problem:{name}"
        member = str.__new__(cls, urn)
        member._value_ = urn
        member.status, member.summary = status, summary
        return member

    # Of each status first the one that says no more than it.
    BAD_REQUEST = "bad-request", 400, "The request cannot be read"
    UNKNOWN_HOST = "unknown-host", 400, "The Host header names no host of this service"
    NO_TOKEN = "no-token", 401, "A valid token is needed"
    NOT_ALLOWED = "not-allowed", 403, "The token does not allow this"
    OVER_QUOTA = "over-quota", 403, "A quota is used up"
    NOT_FOUND = "not-found", 404, "There is nothing of that name"
    NO_SUCH_JOB = "no-such-job", 404, "There is no such job"
    NO_SUCH_METHOD = "no-such-method", 405, "The method is not one of this address"
    TOO_LATE = "too-late", 409, "The job is past that"
    KEY_IN_USE = "idempotency-key-in-use", 409, "The first request of this key is not done"
    ATTEMPT_DISOWNED = "attempt-disowned", 409, "The attempt is not its job's current one"
    CHECKPOINT_GONE = "checkpoint-gone", 409, "The checkpoint is gone"
    CHECKPOINT_IN_USE = "checkpoint-in-use", 409, "The checkpoint is needed"
    TOO_LARGE = "too-large", 413, "The body is too large"
    NO_SUCH_RANGE = "no-such-range", 416, "There are not that many bytes"
    INVALID_REQUEST = "invalid-request", 422, "The request is not valid"
    SPEC_REFUSED = "spec-refused", 422, "The job cannot be accepted"
    WEBHOOK_REFUSED = "webhook-refused", 422, "The webhook cannot be registered"
    KEY_REUSED = "idempotency-key-reused", 422, "The key was used for another request"
    TOO_MANY_REQUESTS = "too-many-requests", 429, "Too many requests"
    FAILED = "failed", 500, "The service failed"
    UNREADABLE_JOB = "unreadable-job", 500, "What is stored of the job cannot be read"
    UNAVAILABLE = "unavailable", 503, "The service cannot do this now"
    STANDBY = "standby", 503, "This control plane stands by"
    STORE_UNAVAILABLE = "store-unavailable", 503, "The store does not answer"
    DISK_UNAVAILABLE = "disk-unavailable", 503, "The disk of the run root cannot be used"
    OBJECT_STORES_BUSY = "object-stores-busy", 503, "Too many requests wait for object stores"
    STREAMS_TAKEN = "streams-taken", 503, "As many streams or downloads are open as may be"

    @classmethod
    def of_status(cls, status: int) -> Self:
        """Return the type of an answer of which no more is known than its status."""
        return next(
            (one for one in cls if one.status == status),
            cls.BAD_REQUEST if status < 500 else cls.FAILED,
        )


class FieldError(BaseModel):
    """One field and its mend."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="Path of the field, with dots; empty for the whole body.")
    message: str = Field(description="What is wrong with it and what would be right.")


class Problem(BaseModel):
    """Body of every answer that is an error."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(
        default="about:blank", description="What is wrong, as a URN: docs/problems.md has them all."
    )
    title: str = Field(description="The same in words; alike in all problems of a type.")
    status: int
    detail: str = Field(description="What is wrong this time, where, and what to do.")
    errors: tuple[FieldError, ...] = Field(default=(), description="The fields at fault, if any.")


class SpecRefusedError(ValueError):
    """A spec cannot be accepted; carries every field at fault."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = tuple(errors)


def field_errors(error: ValidationError, document: object) -> tuple[FieldError, ...]:
    """Name the fields of `document` that pydantic found at fault, the first of them."""
    found = error.errors(include_url=False)
    return first_errors((_field_error(details, document) for details in found), len(found))


def first_errors(errors: Iterable[FieldError], number: int) -> tuple[FieldError, ...]:
    """Return as many as anybody reads, and how many there are besides."""
    told = tuple(islice(errors, MAX_TOLD))
    num_left = number - len(told)
    if not num_left:
        return told
    message = f"and {num_left:,} more are wrong; mend these first"
    return (*told, FieldError(field="", message=message))


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
