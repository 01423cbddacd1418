"""What a client raises: the service refuses, or does not answer."""

import json
import shlex

import httpx
from pydantic import ValidationError

from service.errors import UserError
from service.problems import Problem


class ServiceUnreachableError(UserError):
    """The service does not answer."""

    exit_code = 4


class NotEndedError(UserError):
    """A job that was waited for has not ended in time."""

    exit_code = 124
    """As `timeout` has it."""


class ProblemError(UserError):
    """The service refused; `problem` is its own account."""

    def __init__(self, problem: Problem) -> None:
        lines = [problem.detail, *(f"  {one.field}: {one.message}" for one in problem.errors)]
        super().__init__("\n".join(lines))
        self.problem = problem


class SubmissionLostError(ServiceUnreachableError):
    """Whether a submission has made its job is not known; sent again with its key it makes one."""

    def __init__(self, why: object, idempotency_key: str) -> None:
        super().__init__(
            f"{why}; whether the job was submitted is not known: submit the same again with this "
            "Idempotency-Key, and there is one job of it: --idempotency-key "
            f"{shlex.quote(idempotency_key)}"
        )
        self.idempotency_key = idempotency_key


def problem_of(answer: httpx.Response) -> ProblemError:
    """Return what a refusal says, by whatever stands between here and the service."""
    try:
        return ProblemError(Problem.model_validate_json(answer.content))
    except ValidationError:
        text = json.dumps(answer.text[:200])
        detail = f"{answer.request.url} answered {answer.status_code}: {text}"
        return ProblemError(
            Problem(title=answer.reason_phrase, status=answer.status_code, detail=detail)
        )
