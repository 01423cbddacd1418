"""Where attempts report. For them alone: each has a token of its own."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.dependencies import (
    HAS_OWN_TOKENS,
    INVALID,
    MAX_INTEGER,
    JobId,
    Leader,
    UnknownTokenError,
)
from service.jobs.records import AttemptRecord
from service.metrics import count_events
from service.problems import Problem
from service.reconciling.pace import is_news
from service.reconciling.starter import sha256_of_token
from service.store.errors import StaleAttemptError
from trainer.contract.events import EventBatch, EventReply

router = APIRouter(
    prefix="/jobs/{job_id}/attempts",
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
        raise HTTPException(401, "an attempt's token is needed", {"WWW-Authenticate": "Bearer"})
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
    "/{attempt}/events",
    responses={
        401: {"model": Problem, "description": "No token."},
        403: {"model": Problem, "description": "Not this attempt's token."},
        409: {"model": Problem, "description": "The attempt is no longer current: stop."},
    },
)
def report_events(
    plane: Leader,
    job_id: JobId,
    record: ReportingAttempt,
    batch: EventBatch,
) -> EventReply:
    """Take the next events, say how far they are stored and what is wanted.

    What was stored before is passed over; what leaves a gap is not stored: send again from the
    reply on.
    """
    through, job = plane.store.append_events(job_id, record.number, batch.events)
    count_events(one for one in batch.events if record.events_through < one.number <= through)
    if is_news(batch.events, job.status):
        plane.wake()
    return EventReply(stored_through=through, desired=job.told)
