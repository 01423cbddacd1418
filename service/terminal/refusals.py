"""How a command tells programs what is wrong: as a problem document, in a line of JSON."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self

import typer

from service.client.errors import (
    NotEndedError,
    ProblemError,
    ServiceUnreachableError,
    SubmissionLostError,
)
from service.errors import UserError


class WrongCommandError(UserError):
    """Typer cannot make out the command."""

    def __init__(self, error: typer.TyperException) -> None:
        # Its exceptions have a text for people, but not their public base.
        super().__init__(getattr(error, "format_message", error.__str__)())


class CommandProblem(StrEnum):
    """What can be wrong without a word of the service: the `type`, which never changes its meaning.

    docs/commands.md repeats them.
    """

    summary: str

    def __new__(cls, name: str, summary: str) -> Self:
        """Make the type of a name; its value is the URN."""
        urn = f"urn:alexnet:command:{name}"
        member = str.__new__(cls, urn)
        member._value_ = urn
        member.summary = summary
        return member

    WRONG_USE = "wrong-use", "The command is wrong, or cannot be done here"
    SERVICE_UNREACHABLE = "service-unreachable", "No service answers"
    SUBMISSION_LOST = "submission-lost", "Whether the job was submitted is not known"
    NOT_ENDED = "not-ended", "The job has not ended in time"
    NOT_WRITTEN = "not-written", "What the command gives could not be written"


# The first that an error is one of.
_TYPES: tuple[tuple[type[Exception], CommandProblem], ...] = (
    (SubmissionLostError, CommandProblem.SUBMISSION_LOST),
    (ServiceUnreachableError, CommandProblem.SERVICE_UNREACHABLE),
    (NotEndedError, CommandProblem.NOT_ENDED),
    (OSError, CommandProblem.NOT_WRITTEN),
)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json is among the options, also of a command that is wrong otherwise."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def json_line(error: Exception, detail: str) -> str:
    """Return the service's own problem document, or one of the same form, without `status`."""
    if isinstance(error, ProblemError):
        return json.dumps(error.problem.model_dump(mode="json"))
    kinds = (kind for known, kind in _TYPES if isinstance(error, known))
    kind = next(kinds, CommandProblem.WRONG_USE)
    told: dict[str, Any] = {"type": kind, "title": kind.summary, "detail": detail, "errors": []}
    if isinstance(error, SubmissionLostError):
        told["idempotency_key"] = error.idempotency_key
    return json.dumps(told)
