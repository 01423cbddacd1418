"""Which problem document each error becomes."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InternalError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.dependencies import StandbyError, UnknownTokenError
from service.jobs.lifecycle import RefusedError
from service.problems import (
    MEDIA_TYPE,
    FieldError,
    Problem,
    ProblemType,
    SpecRefusedError,
    first_errors,
)
from service.store.errors import (
    JobNotFoundError,
    StaleAttemptError,
    UnreadableJobError,
    has_other_schema,
    why_no_answer,
)
from service.store.idempotency import KeyInUseError, KeyReusedError
from service.store.leases import LostLeadershipError
from service.submission.held_checkpoints import NotHeldError
from service.submission.manifests import StoreBusyError

logger = logging.getLogger(__name__)

RETRY = {"Retry-After": "2"}
MAX_BODY_BYTES = 1 << 20
_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes, which no spec needs; send less"
# What the middleware refuses in plain text before a route is asked, and what to do about it.
_PLAIN = {
    400: (
        ProblemType.UNKNOWN_HOST,
        "the Host header names no host of this service; use the address that it was started "
        "with, or have the operator add the name to ALEXNET_ALLOWED_HOSTS",
    ),
    413: (ProblemType.TOO_LARGE, _TOO_LARGE),
}


class RefusedRequestError(HTTPException):
    """A route refuses by a problem of a type."""

    def __init__(
        self, kind: ProblemType, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind


def answer(
    status: int,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
    kind: ProblemType | None = None,
) -> Response:
    """Make the response of a problem; `kind` None: the one that the status alone names."""
    kind = kind or ProblemType.of_status(status)
    problem = Problem(type=kind, title=kind.summary, status=status, detail=detail, errors=errors)
    # Escaped to ASCII: a field's name may hold half a surrogate pair, which UTF-8 cannot carry.
    return Response(
        json.dumps(problem.model_dump()), status, media_type=MEDIA_TYPE, headers=headers
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of ours with a problem document."""

    @app.exception_handler(SpecRefusedError)
    def refused_spec(_request: Request, error: SpecRefusedError) -> Response:
        detail = "the job cannot be accepted; nothing was stored"
        return answer(422, detail, errors=error.errors, kind=ProblemType.SPEC_REFUSED)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        errors = first_errors(map(_request_error, found), len(found))
        detail = "the request is not valid"
        return answer(422, detail, errors=errors, kind=ProblemType.INVALID_REQUEST)

    @app.exception_handler(JobNotFoundError)
    def unknown_job(_request: Request, error: JobNotFoundError) -> Response:
        return answer(404, str(error), kind=ProblemType.NO_SUCH_JOB)

    @app.exception_handler(UnreadableJobError)
    def unreadable_job(_request: Request, error: UnreadableJobError) -> Response:
        return answer(500, str(error), kind=ProblemType.UNREADABLE_JOB)

    @app.exception_handler(StaleAttemptError)
    def stale(_request: Request, error: StaleAttemptError) -> Response:
        return answer(409, str(error), kind=ProblemType.ATTEMPT_DISOWNED)

    @app.exception_handler(UnknownTokenError)
    def unknown_token(_request: Request, error: UnknownTokenError) -> Response:
        return answer(403, str(error), kind=ProblemType.ATTEMPT_DISOWNED)

    @app.exception_handler(RefusedError)
    def refused(_request: Request, error: RefusedError) -> Response:
        return answer(409, str(error), kind=ProblemType.TOO_LATE)

    @app.exception_handler(KeyInUseError)
    def key_in_use(_request: Request, error: KeyInUseError) -> Response:
        return answer(409, str(error), headers=RETRY, kind=ProblemType.KEY_IN_USE)

    @app.exception_handler(KeyReusedError)
    def key_reused(_request: Request, error: KeyReusedError) -> Response:
        return answer(422, str(error), kind=ProblemType.KEY_REUSED)

    @app.exception_handler(StandbyError)
    @app.exception_handler(LostLeadershipError)
    def standby(_request: Request, error: Exception) -> Response:
        return answer(503, str(error), headers=RETRY, kind=ProblemType.STANDBY)

    @app.exception_handler(StoreBusyError)
    def busy_store(_request: Request, error: StoreBusyError) -> Response:
        return answer(503, str(error), headers=RETRY, kind=ProblemType.OBJECT_STORES_BUSY)

    @app.exception_handler(NotHeldError)
    def not_held(_request: Request, error: NotHeldError) -> Response:
        logger.error("%s", error)
        return answer(503, str(error), headers=RETRY, kind=ProblemType.DISK_UNAVAILABLE)

    # InternalError: of a server that takes no writes, or gave up a transaction of ours.
    @app.exception_handler(InternalError)
    @app.exception_handler(OperationalError)
    @app.exception_handler(NoConnectionError)
    def no_store(_request: Request, error: DBAPIError | NoConnectionError) -> Response:
        logger.error("the store does not answer: %s", error)
        detail = f"the store does not answer ({why_no_answer(error)}); try again"
        return answer(503, detail, headers=RETRY, kind=ProblemType.STORE_UNAVAILABLE)

    @app.exception_handler(ProgrammingError)
    def other_schema(request: Request, error: ProgrammingError) -> Response:
        if not has_other_schema(error):
            raise error
        return no_store(request, error)

    @app.exception_handler(DataError)
    @app.exception_handler(StatementError)
    @app.exception_handler(OverflowError)
    def out_of_range(_request: Request, error: Exception) -> Response:
        # SQLite's driver refuses such a number; PostgreSQL does, and its driver.
        is_known = isinstance(error, DataError | OverflowError)
        if not is_known and not isinstance(getattr(error, "orig", None), OverflowError):
            raise error
        detail = "a number or a time is beyond what can be stored"
        return answer(422, detail, kind=ProblemType.INVALID_REQUEST)

    @app.exception_handler(HTTPException)
    def other(_request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, UnicodeDecodeError | RecursionError):
            detail = "the body is not UTF-8, or nested too deeply to be a request"
            return answer(422, detail, kind=ProblemType.INVALID_REQUEST)
        if error.status_code == 400 and isinstance(error.__cause__, ValueError):
            # Of JSON that is well formed, the parser refuses nothing else.
            digits = sys.get_int_max_str_digits()
            detail = f"a number in the body has more than {digits} digits; no field takes one"
            return answer(422, detail, kind=ProblemType.INVALID_REQUEST)
        kind = error.kind if isinstance(error, RefusedRequestError) else None
        is_said = kind is not None or error.status_code != 413
        detail = str(error.detail) if is_said else _TOO_LARGE
        return answer(error.status_code, detail, headers=error.headers, kind=kind)

    @app.exception_handler(Exception)
    def unforeseen(_request: Request, _error: Exception) -> Response:
        # Raised again by Starlette after the answer, so that the log has the traceback.
        detail = "the service failed at this; its log says where"
        return answer(500, detail, kind=ProblemType.FAILED)


class PlainErrors:
    """Middleware: what the framework refuses in plain text becomes a problem document too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        refused: int | None = None

        async def mend(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_plain(message):
                refused = message["status"]
            elif refused is None:
                await send(message)
            elif not message.get("more_body"):
                kind, detail = _PLAIN[refused]
                await answer(refused, detail, kind=kind)(scope, receive, send)

        await self._app(scope, receive, mend)


def _is_plain(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] in _PLAIN and kind.startswith("text/plain")


def _request_error(item: Mapping[str, Any]) -> FieldError:
    place, *rest = item["loc"]
    if item["type"] == "json_invalid":
        message = f"this is not JSON: {item['ctx']['error']} at character {rest[0]}"
        return FieldError(field="", message=message)
    if place != "body":
        return FieldError(field=".".join(map(str, item["loc"])), message=item["msg"])
    field = ".".join(map(str, rest))
    if isinstance(item["input"], bytes):
        message = "send JSON, and say so: Content-Type: application/json"
    elif item["type"] == "missing":
        message = "a JSON object is required"
    elif item["type"] == "dict_type":
        message = "this is not a JSON object, { ... }"
    else:
        message = item["msg"]
    return FieldError(field=field, message=message)
