"""/jobs/{id}/events: what happened, as a stream that ends with the job, or as JSON.

Events are numbered and kept. How far the job is comes between them in the stream, as messages of
the type `progress` without an id: they are not kept, and whoever reconnects misses no number.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated, TypeVar

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from service.access.slots import Slots
from service.api.dependencies import INVALID, MAX_INTEGER, Plane, SeenJobId
from service.api.present import event_view, progress_view
from service.api.senders import Sender, while_let_in
from service.control_plane import ControlPlane
from service.jobs.events import StatusChanged
from service.jobs.records import EventRecord, JobRecord
from service.metrics import event_streams
from service.problems import Problem
from service.settings import Settings
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.views.jobs import EventPage, LiveProgress
from trainer.contract.events import Progress
from trainer.contract.status import TERMINAL

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

POLL_S = 0.25
KEEP_ALIVE_S = 15.0
# Proxies give up what is silent for a minute.
MAX_WAIT_S = 50.0
PAGE = 500
Item = TypeVar("Item")
# What a job, or the store, can come to between two looks at it.
_GONE = (
    JobNotFoundError,
    UnreadableJobError,
    InternalError,
    OperationalError,
    NoConnectionError,
)


def stream_slots(settings: Settings) -> Slots:
    """Return the slots of one application's streams."""
    return Slots(
        "streams",
        settings.max_event_streams,
        per_sender=settings.max_open_per_sender,
        mend="try again, ask for events as application/json without wait_s and for logs without "
        "following, or have the operator raise ALEXNET_MAX_EVENT_STREAMS",
    )


@contextmanager
def _slot(scope: Scope) -> Iterator[None]:
    """Hold a slot for the request's sender while the block runs. Raises NoSlotError."""
    slots = scope["app"].state.stream_slots
    assert isinstance(slots, Slots)
    with slots.take(Sender.of(scope).key), event_streams.track_inprogress():
        yield


class SlottedStream(StreamingResponse):
    """Takes its slot when it begins to answer: nothing can come between that and giving it back."""

    def __init__(
        self, frames: AsyncIterator[bytes], *, media_type: str = "text/event-stream"
    ) -> None:
        headers = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(frames, media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream. Raises NoSlotError before anything is sent."""
        with _slot(scope):
            await super().__call__(scope, receive, send)


@router.get(
    "/{job_id}/events",
    response_model=EventPage,
    responses={
        200: {
            "description": "Events in order; as a stream (the default) until the job has ended. "
            "Between them it has messages of the type `progress` without an id.",
            "content": {"text/event-stream": {}},
        },
        404: {"model": Problem, "description": "No such job."},
        429: {
            "model": Problem,
            "description": "Too many requests, or the sender has as many streams and waits open "
            "as one may.",
        },
        503: {"model": Problem, "description": "As many streams and waits are open as may be."},
    },
)
async def job_events(
    request: Request,
    plane: Plane,
    job_id: SeenJobId,
    *,
    accept: Annotated[str, Header()] = "text/event-stream",
    last_event_id: Annotated[int, Header(ge=0, le=MAX_INTEGER)] = 0,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_INTEGER, description="In place of `Last-Event-ID`.")
    ] = None,
    wait_s: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_WAIT_S,
            description="Answer in JSON, at once if there are events or the job has ended, else "
            "when there are, or with none after so many seconds.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of JSON only.")] = 1000,
) -> Response:
    """Follow a job. `Last-Event-ID` names the last event that is known already."""
    await run_in_threadpool(plane.store.job, job_id)
    last_id = last_event_id if after is None else after
    if wait_s is None and "application/json" not in accept:
        frames = until_gone(_follow(plane, job_id, last_id))
        sender = Sender.of(request.scope)
        return SlottedStream(while_let_in(frames, sender, every_s=KEEP_ALIVE_S))
    events = await _read(plane, job_id, last_id, limit)
    if not events and wait_s:
        with _slot(request.scope):
            events = await _wait(
                request, plane, job_id, last_id=last_id, limit=limit, wait_s=wait_s
            )
    page = EventPage(events=tuple(event_view(event) for event in events))
    return JSONResponse(page.model_dump(mode="json"))


async def _wait(
    request: Request,
    plane: ControlPlane,
    job_id: str,
    *,
    last_id: int,
    limit: int,
    wait_s: float,
) -> list[EventRecord]:
    """Return the next events, or none once there will be no more or nobody waits any longer.

    Raises what the sender could not be identified by, if that changes.
    """
    until = time.monotonic() + wait_s
    checked_at = time.monotonic()
    while True:
        # The job first: what led to its end is then among the events.
        job = await run_in_threadpool(plane.store.job, job_id)
        events = await _read(plane, job_id, last_id, limit)
        left_s = until - time.monotonic()
        if events or job.is_terminal or plane.is_stopping or left_s <= 0:
            return events
        if await request.is_disconnected():
            return []
        if time.monotonic() - checked_at >= KEEP_ALIVE_S:
            await Sender.of(request.scope).check()
            checked_at = time.monotonic()
        await anyio.sleep(min(POLL_S, left_s))


async def until_gone(
    items: AsyncGenerator[Item], told: Callable[[Exception], Item] | None = None
) -> AsyncGenerator[Item]:
    """Yield items until their job is deleted, or the store does not answer.

    The status has been sent by then: whoever asks for what follows is answered by another. `told`
    makes a last item of the error, where whoever reads could take the end for that of the job.
    """
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except _GONE as error:
            if told is not None:
                yield told(error)


async def _follow(plane: ControlPlane, job_id: str, last_id: int) -> AsyncGenerator[bytes]:
    spoke_at = time.monotonic()
    told: Progress | None = None
    while not plane.is_stopping:
        # The job first: what led to its end is then among the events.
        job = await run_in_threadpool(plane.store.job, job_id)
        events = await _read(plane, job_id, last_id, PAGE)
        for event in events:
            if _is_end(event) and job.progress != told:
                # Nobody listens beyond the end.
                yield _live_frame(job)
                told = job.progress
            yield _frame(event)
            last_id, spoke_at = event.number, time.monotonic()
        if len(events) == PAGE:
            continue
        if job.is_terminal:
            return
        if job.progress != told:
            yield _live_frame(job)
            told, spoke_at = job.progress, time.monotonic()
        if time.monotonic() - spoke_at > KEEP_ALIVE_S:
            yield KEEPALIVE_COMMENT
            spoke_at = time.monotonic()
        await anyio.sleep(POLL_S)


async def _read(plane: ControlPlane, job_id: str, after: int, limit: int) -> list[EventRecord]:
    return await run_in_threadpool(plane.store.events, job_id, after=after, limit=limit)


def _is_end(event: EventRecord) -> bool:
    return isinstance(event.data, StatusChanged) and event.data.after in TERMINAL


def _live_frame(job: JobRecord) -> bytes:
    progress = progress_view(job)
    assert progress is not None
    live = LiveProgress(attempt=job.attempt, progress=progress)
    return format_sse_event(event="progress", data_str=live.model_dump_json())


def _frame(event: EventRecord) -> bytes:
    return format_sse_event(
        id=str(event.number), event=event.data.kind, data_str=event_view(event).model_dump_json()
    )
