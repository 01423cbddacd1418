"""Where attempts report. For them alone: each has a token of its own."""

import hmac
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import (
    HAS_OWN_TOKENS,
    INVALID,
    MAX_INTEGER,
    JobId,
    Leader,
    StandbyError,
    UnknownTokenError,
)
from service.api.errors import MAX_BODY_BYTES
from service.control_plane import ControlPlane
from service.jobs.records import AttemptRecord
from service.metrics import count_events
from service.problems import Problem
from service.reconciling.pace import is_news
from service.reconciling.starter import sha256_of_token
from service.store.errors import StaleAttemptError
from service.store.reports import Taken
from trainer.contract.events import EventBatch, EventReply, Progress

# What is answered where none is sent: status, detail, headers.
NO_TOKEN = (401, "an attempt's token is needed", {"WWW-Authenticate": "Bearer"})
_PREFIX = "/jobs/{job_id}/attempts"
_EVENTS = "/{attempt}/events"
REPORTS_PATH = _PREFIX + _EVENTS

_bearer = HTTPBearer(auto_error=False, description="The token of the attempt's order.")


class _TokenFirst(APIRoute):
    """Asks whose token was sent before FastAPI reads the body, which it does before all else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        take = super().get_route_handler()

        async def ask(request: Request) -> Response:
            plane: ControlPlane = request.app.state.plane
            if not plane.is_leader:
                raise StandbyError(plane.leadership.holder())
            credentials = await _bearer(request)
            if credentials is None:
                raise HTTPException(*NO_TOKEN)
            request.state.attempt = await run_in_threadpool(
                _attempt_of, plane, request.path_params, credentials.credentials
            )
            return await take(request)

        return ask


def _attempt_of(plane: ControlPlane, path: Mapping[str, str], token: str) -> AttemptRecord:
    """Return the attempt that a path names; raise UnknownTokenError where the token is not its."""
    number = path["attempt"]
    # No attempt has one of more digits, nor does the store take much more.
    if not number.isdecimal() or len(number) > 9:
        raise UnknownTokenError
    try:
        record = plane.store.attempt(path["job_id"], int(number))
    except StaleAttemptError:
        raise UnknownTokenError from None
    known = record.token_sha256
    if known is None or not hmac.compare_digest(sha256_of_token(token), known):
        raise UnknownTokenError
    return record


async def _reporting(
    request: Request,
    job_id: JobId,
    attempt: Annotated[int, Path(ge=1, le=MAX_INTEGER)],
    _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> AttemptRecord:
    """Return the attempt whose token was sent."""
    record: AttemptRecord = request.state.attempt
    assert (record.job_id, record.number) == (job_id, attempt)
    return record


router = APIRouter(
    prefix=_PREFIX,
    tags=["attempts"],
    responses=INVALID,
    dependencies=[HAS_OWN_TOKENS],
    route_class=_TokenFirst,
)


ReportingAttempt = Annotated[AttemptRecord, Depends(_reporting)]


@router.post(
    _EVENTS,
    responses={
        401: {"model": Problem, "description": "No token."},
        403: {"model": Problem, "description": "Not this attempt's token."},
        409: {"model": Problem, "description": "The attempt is no longer current: stop."},
    },
)
def report_events(
    request: Request,
    plane: Leader,
    job_id: JobId,
    record: ReportingAttempt,
    batch: EventBatch,
) -> EventReply:
    """Take the next events, say how far they are stored and what is wanted.

    What was stored before is passed over; what leaves a gap is not stored: send again from the
    reply on.
    """
    # Of one that comes in chunks nothing else is told.
    size_bytes = int(request.headers.get("content-length", MAX_BODY_BYTES))
    taken = plane.store.append_events(job_id, record.number, batch.events, size_bytes=size_bytes)
    return reply_to(plane, batch, taken)


def reply_to(plane: ControlPlane, batch: EventBatch, taken: Taken) -> EventReply:
    """Return the answer to a report that was stored; count what is new, and tell of news."""
    others = [one for one in batch.events if not isinstance(one.data, Progress)]
    count_events(one for one in others if taken.stored_before < one.number <= taken.stored_through)
    if is_news(batch.events, taken.status):
        plane.wake()
    return EventReply(stored_through=taken.stored_through, desired=taken.told)
