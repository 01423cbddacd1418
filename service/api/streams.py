"""/jobs/{id}/events: what happened, as a stream that ends with the job, or as JSON."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from service.api.dependencies import INVALID, MAX_INTEGER, Plane, SeenJobId
from service.api.errors import RETRY, answer
from service.api.present import event_view
from service.control_plane import ControlPlane
from service.jobs.records import EventRecord
from service.metrics import event_streams
from service.problems import Problem, ProblemType
from service.views import EventPage

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

POLL_S = 0.25
KEEP_ALIVE_S = 15.0
PAGE = 500


class StreamSlots:
    """How many streams of one application are open, and may be. For its event loop alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._num_open = 0

    @property
    def are_taken(self) -> bool:
        """Whether as many are open as may be."""
        return self._num_open >= self.limit

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold one while the block runs."""
        self._num_open += 1
        try:
            with event_streams.track_inprogress():
                yield
        finally:
            self._num_open -= 1


class SlottedStream(StreamingResponse):
    """Takes its slot when it begins to answer: nothing can come between that and giving it back."""

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        slots: StreamSlots,
        *,
        media_type: str = "text/event-stream",
    ) -> None:
        headers = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(frames, media_type=media_type, headers=headers)
        self._slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, or refuse."""
        if self._slots.are_taken:
            detail = (
                f"{self._slots.limit} event streams are open, as many as may be; try again, ask "
                "for application/json, or have the operator raise ALEXNET_MAX_EVENT_STREAMS"
            )
            refusal = answer(503, detail, headers=RETRY, kind=ProblemType.STREAMS_TAKEN)
            await refusal(scope, receive, send)
            return
        with self._slots.take():
            await super().__call__(scope, receive, send)


@router.get(
    "/{job_id}/events",
    response_model=EventPage,
    responses={
        200: {
            "description": "Events in order; as a stream (the default) until the job has ended.",
            "content": {"text/event-stream": {}},
        },
        404: {"model": Problem, "description": "No such job."},
        503: {"model": Problem, "description": "As many streams are open as may be."},
    },
)
async def job_events(
    request: Request,
    plane: Plane,
    job_id: SeenJobId,
    *,
    accept: Annotated[str, Header()] = "text/event-stream",
    last_event_id: Annotated[int, Header(ge=0, le=MAX_INTEGER)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of JSON only.")] = 1000,
) -> Response:
    """Follow a job. `Last-Event-ID` names the last event that is known already."""
    await run_in_threadpool(plane.store.job, job_id)
    if "application/json" in accept:
        events = await _read(plane, job_id, last_event_id, limit)
        page = EventPage(events=tuple(event_view(event) for event in events))
        return JSONResponse(page.model_dump(mode="json"))
    slots = request.app.state.stream_slots
    assert isinstance(slots, StreamSlots)
    return SlottedStream(_follow(plane, job_id, last_event_id), slots)


async def _follow(plane: ControlPlane, job_id: str, last_id: int) -> AsyncIterator[bytes]:
    spoke_at = time.monotonic()
    while not plane.is_stopping:
        # The job first: what led to its end is then among the events.
        job = await run_in_threadpool(plane.store.job, job_id)
        events = await _read(plane, job_id, last_id, PAGE)
        for event in events:
            yield _frame(event)
            last_id, spoke_at = event.number, time.monotonic()
        if len(events) == PAGE:
            continue
        if job.is_terminal:
            return
        if time.monotonic() - spoke_at > KEEP_ALIVE_S:
            yield KEEPALIVE_COMMENT
            spoke_at = time.monotonic()
        await anyio.sleep(POLL_S)


async def _read(plane: ControlPlane, job_id: str, after: int, limit: int) -> list[EventRecord]:
    return await run_in_threadpool(plane.store.events, job_id, after=after, limit=limit)


def _frame(event: EventRecord) -> bytes:
    return format_sse_event(
        id=str(event.number), event=event.data.kind, data_str=event_view(event).model_dump_json()
    )
