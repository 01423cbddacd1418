"""Where attempts report. For them alone: each has a token of its own."""

import asyncio
import hmac
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from service.api.dependencies import (
    HAS_OWN_TOKENS,
    INVALID,
    MAX_INTEGER,
    JobId,
    Leader,
    UnknownTokenError,
)
from service.control_plane import ControlPlane
from service.jobs.records import AttemptRecord
from service.metrics import count_events
from service.problems import Problem
from service.reconciling.pace import is_news
from service.reconciling.starter import sha256_of_token
from service.steady_clock import now_utc
from service.store.errors import JobNotFoundError, StaleAttemptError
from service.store.reports import Report, Taken
from trainer.contract.events import EventBatch, EventReply, Progress


class _ReportRoute(APIRoute):
    """Takes what is in order at once; whatever may be refused goes FastAPI's way, which says why.

    That way, with its threads and checks, costs several times what it costs to store a report.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a report."""
        in_full = super().get_route_handler()

        async def take(request: Request) -> Response:
            plane: ControlPlane = request.app.state.plane
            is_json = request.headers.get("content-type") == "application/json"
            # The middleware of `api.access` knows by which token this path was reported to.
            if not (request.state.reported_before and is_json and plane.is_leader):
                return await in_full(request)
            try:
                batch = EventBatch.model_validate_json(await request.body())
            except (ValidationError, ClientDisconnect):
                return await in_full(request)
            report = Report(
                job_id=request.path_params["job_id"],
                attempt=int(request.path_params["attempt"]),
                events=batch.events,
                at=now_utc(),
            )
            try:
                taken = await asyncio.wrap_future(plane.store.take_report(report))
            except JobNotFoundError:
                # Deleted since: its token is none any longer.
                return await in_full(request)
            reply = _reply(plane, batch, taken)
            return Response(reply.model_dump_json(), media_type="application/json")

        return take


router = APIRouter(
    prefix="/jobs/{job_id}/attempts",
    route_class=_ReportRoute,
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
    record = attempt_with(plane, job_id, attempt, credentials.credentials)
    if record is None:
        raise UnknownTokenError
    return record


def attempt_with(plane: ControlPlane, job_id: str, number: int, token: str) -> AttemptRecord | None:
    """Return the attempt if this is its token; None: it is not, or there is no such attempt."""
    try:
        record = plane.store.attempt(job_id, number)
    except StaleAttemptError:
        return None
    known = record.token_sha256
    is_its = known is not None and hmac.compare_digest(sha256_of_token(token), known)
    return record if is_its else None


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
    taken = plane.store.append_events(job_id, record.number, batch.events)
    return _reply(plane, batch, taken)


def _reply(plane: ControlPlane, batch: EventBatch, taken: Taken) -> EventReply:
    others = [one for one in batch.events if not isinstance(one.data, Progress)]
    count_events(one for one in others if taken.stored_before < one.number <= taken.stored_through)
    if is_news(batch.events, taken.status):
        plane.wake()
    return EventReply(stored_through=taken.stored_through, desired=taken.told)
