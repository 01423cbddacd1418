"""Which problem document each error becomes."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, StatementError
from starlette.exceptions import HTTPException

from service.api.dependencies import StandbyError
from service.lifecycle import RefusedError
from service.problems import MEDIA_TYPE, FieldError, Problem, SpecRefusedError
from service.store.errors import JobNotFoundError, StaleAttemptError

logger = logging.getLogger(__name__)

RETRY = {"Retry-After": "2"}


def answer(
    status: int,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the response of a problem."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    # Escaped to ASCII: a field's name may hold half a surrogate pair, which UTF-8 cannot carry.
    return Response(
        json.dumps(problem.model_dump()), status, media_type=MEDIA_TYPE, headers=headers
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of ours with a problem document."""

    @app.exception_handler(SpecRefusedError)
    def refused_spec(_request: Request, error: SpecRefusedError) -> Response:
        return answer(422, "the job cannot be accepted; nothing was stored", errors=error.errors)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> Response:
        errors = tuple(
            FieldError(field=".".join(str(part) for part in item["loc"]), message=str(item["msg"]))
            for item in error.errors()
        )
        return answer(422, "the request is not valid", errors=errors)

    @app.exception_handler(JobNotFoundError)
    def unknown_job(_request: Request, error: JobNotFoundError) -> Response:
        return answer(404, str(error))

    @app.exception_handler(StaleAttemptError)
    def stale(_request: Request, error: StaleAttemptError) -> Response:
        return answer(409, str(error))

    @app.exception_handler(RefusedError)
    def refused(_request: Request, error: RefusedError) -> Response:
        return answer(409, str(error))

    @app.exception_handler(StandbyError)
    def standby(_request: Request, error: StandbyError) -> Response:
        return answer(503, str(error), headers=RETRY)

    @app.exception_handler(OperationalError)
    def store_busy(_request: Request, error: OperationalError) -> Response:
        logger.error("the store does not answer: %s", error)
        return answer(503, f"the store does not answer ({error.orig}); try again", headers=RETRY)

    @app.exception_handler(StatementError)
    @app.exception_handler(OverflowError)
    def out_of_range(_request: Request, error: Exception) -> Response:
        if isinstance(error, StatementError) and not isinstance(error.orig, OverflowError):
            raise error
        return answer(422, "a number or a time is beyond what can be stored")

    @app.exception_handler(HTTPException)
    def other(_request: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), headers=error.headers)
