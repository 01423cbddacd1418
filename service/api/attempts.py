"""Where attempts report. For them alone: each has a token of its own."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.dependencies import (
    HAS_OWN_TOKENS,
    INVALID,
    MAX_INTEGER,
    JobId,
    Leader,
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

router = APIRouter(
    prefix=_PREFIX,
    tags=["attempts"],
    responses=INVALID,
    dependencies=[HAS_OWN_TOKENS],
)
_bearer = HTTPBearer(auto_error=False, description="The token of the attempt's order.")


def _reporting(
    plane: Leader,
    job_id: JobId,
    attempt: Annotated[int, Path(ge=1, le=MAX_INTEGER)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> AttemptRecord:
    """Return the attempt whose token was sent: before it is asked what is in the body."""
    if credentials is None:
        raise HTTPException(*NO_TOKEN)
    try:
        record = plane.store.attempt(job_id, attempt)
    except StaleAttemptError:
        raise UnknownTokenError from None
    known = record.token_sha256
    if known is None or not hmac.compare_digest(sha256_of_token(credentials.credentials), known):
        raise UnknownTokenError
    return record


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
