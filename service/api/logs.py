"""/jobs/{id}/logs: what attempts printed, as it grows."""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import INVALID, MAX_INTEGER, Plane, SeenJobId
from service.api.run_files import RANGED, RangedResponse, reading, unusable
from service.api.senders import Sender, while_let_in
from service.api.streams import KEEP_ALIVE_S, POLL_S, SlottedStream, until_gone
from service.control_plane import ControlPlane
from service.problems import Problem, ProblemType
from service.run_files.confined import NoSuchFileError
from service.run_files.content import Content
from service.run_files.logs import Piece, Place, open_log, read_piece, tail_of, tail_start
from service.store.errors import JobNotFoundError
from service.views.files import LogText

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/jobs", tags=["files"], responses=INVALID)

MAX_TAIL = 100_000
_STREAM = "text/event-stream"
_TEXT = "text/plain; charset=utf-8"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **RANGED,
    200: {
        "description": "The bytes as they were printed, UTF-8 or not; or, as events, LogText. "
        "Where the disk fails meanwhile the last event is a `problem`, of a text the last line.",
        "content": {"text/plain": {}, _STREAM: {}},
    },
    404: {"model": Problem, "description": "No such job, or no such attempt of it."},
    503: {
        "model": Problem,
        "description": "As many streams are open as may be, or the disk cannot be used.",
    },
}
# A text has no other way to say that it is not whole.
_TOKEN_ENDED = b"\n==> the token ended <==\n"
_JOB_GONE = b"\n==> the job is deleted <==\n"
_STORE_AWAY = b"\n==> the store does not answer <==\n"
_Told = Piece | Problem | None
"""A problem is the last that is told; None: nothing for a while."""
_PLACE = r"^[0-9]{1,9}:[0-9]{1,18}$"


@router.get("/{job_id}/logs", response_class=Response, responses=_RESPONSES)
async def get_logs(
    request: Request,
    plane: Plane,
    job_id: SeenJobId,
    *,
    attempt: Annotated[
        Literal["all"] | Annotated[int, Query(ge=1, le=MAX_INTEGER)] | None,
        Query(description="Of this attempt, or of all; the default is the newest."),
    ] = None,
    tail: Annotated[
        int | None, Query(ge=0, le=MAX_TAIL, description="Begin with the last lines.")
    ] = None,
    follow: Annotated[
        bool, Query(description="Go on, over later attempts too, until the job has ended.")
    ] = False,
    accept: Annotated[str, Header()] = _TEXT,
    last_event_id: Annotated[
        str | None,
        Header(pattern=_PLACE, description="ATTEMPT:OFFSET; of a stream: go on behind it."),
    ] = None,
) -> Response:
    """Read logs: one attempt's as a file, with ranges; or a stream, as text or as events."""
    run = plane.settings.run_root / job_id
    numbers = await run_in_threadpool(plane.store.attempt_numbers, job_id)
    chosen = _chosen(attempt, numbers, job_id)
    as_events = _STREAM in accept
    if not follow and not as_events and attempt != "all":
        return await run_in_threadpool(_file, request, run, chosen, tail)
    if last_event_id is not None:
        place = Place.parse(last_event_id)
    else:
        place = await run_in_threadpool(_place, run, chosen, tail)
    # What is not followed is whole by what is known now, whatever becomes of the job meanwhile.
    known = None if follow else [one for one in numbers if one <= chosen[-1]]
    pieces = _pieces(plane, job_id, place, known)
    sender = Sender.of(request.scope)
    if as_events:
        frames = until_gone(_frames(pieces))
        return SlottedStream(while_let_in(frames, sender, every_s=KEEP_ALIVE_S))
    lines = until_gone(_text(pieces), _why_cut)
    text = while_let_in(lines, sender, every_s=KEEP_ALIVE_S, last=_TOKEN_ENDED)
    return SlottedStream(_told(text), media_type=_TEXT)


def _chosen(
    attempt: int | Literal["all"] | None, numbers: Sequence[int], job_id: str
) -> Sequence[int]:
    """Return the attempts that are asked for; none where there is none yet."""
    if attempt is None or attempt == "all":
        return numbers if attempt else numbers[-1:]
    if attempt not in numbers:
        raise HTTPException(404, f"job {job_id} has no attempt {attempt}, but {len(numbers)}")
    return [attempt]


def _place(run: Path, attempts: Sequence[int], tail: int | None) -> Place:
    if not attempts:
        return Place(0, 0)
    if tail is None:
        return Place(attempts[0], 0)
    with reading(run):
        return tail_of(run, attempts, tail)


def _file(request: Request, run: Path, attempts: Sequence[int], tail: int | None) -> Response:
    with reading(run):
        try:
            log: Content = open_log(run, attempts[0]) if attempts else _Nothing()
        except NoSuchFileError:
            # It has printed nothing yet.
            log = _Nothing()
        try:
            start = 0 if tail is None else tail_start(log.read, log.size_bytes, tail)[0]
        except BaseException:
            log.close()
            raise
    return RangedResponse(log, request, media_type=_TEXT, start=start)


async def _pieces(
    plane: ControlPlane, job_id: str, place: Place, known: Sequence[int] | None
) -> AsyncGenerator[_Told]:
    """Yield what is printed from a place on.

    `known`: only what these attempts have printed so far; None: until the job has ended.
    """
    run = plane.settings.run_root / job_id
    is_over = False
    spoke_at = time.monotonic()
    while not plane.is_stopping:
        try:
            piece = await run_in_threadpool(read_piece, run, place, is_over=is_over)
        except OSError as error:
            # The status has been sent: whoever asks for what follows may be answered by another.
            kind, detail = ProblemType.DISK_UNAVAILABLE, unusable(run, error)
            logger.warning("a log is not sent to its end: %s", detail)
            yield Problem(type=kind, title=kind.summary, status=kind.status, detail=detail)
            return
        if piece is not None:
            yield piece
            place, spoke_at = piece.following, time.monotonic()
            continue
        if known is None:
            later, has_ended = await run_in_threadpool(_what_follows, plane, job_id, place.attempt)
        else:
            later, has_ended = _next(known, place.attempt), True
        if not is_over and (later is not None or has_ended):
            # Once more, for what was written before that was known.
            is_over = True
        elif later is not None:
            place, is_over = Place(later, 0), False
        elif has_ended:
            return
        else:
            if time.monotonic() - spoke_at > KEEP_ALIVE_S:
                yield None
                spoke_at = time.monotonic()
            await anyio.sleep(POLL_S)


def _what_follows(plane: ControlPlane, job_id: str, attempt: int) -> tuple[int | None, bool]:
    """Return the attempt after this one, if there is one, and whether the job has ended."""
    # The job first: the attempt that ended it is then among the numbers.
    has_ended = plane.store.job(job_id).is_terminal
    numbers = plane.store.attempt_numbers(job_id)
    return _next(numbers, attempt), has_ended


def _next(numbers: Sequence[int], attempt: int) -> int | None:
    return next((number for number in numbers if number > attempt), None)


async def _frames(pieces: AsyncGenerator[_Told]) -> AsyncGenerator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            if piece is None:
                yield KEEPALIVE_COMMENT
                continue
            if isinstance(piece, Problem):
                yield format_sse_event(event="problem", data_str=piece.model_dump_json())
                return
            told = LogText(
                attempt=piece.place.attempt,
                offset=piece.place.offset,
                next_offset=piece.following.offset,
                text=piece.text,
            )
            yield format_sse_event(
                id=str(piece.following), event="log", data_str=told.model_dump_json()
            )


async def _text(pieces: AsyncGenerator[_Told]) -> AsyncGenerator[bytes | None]:
    attempt: int | None = None
    async with aclosing(pieces):
        async for piece in pieces:
            if piece is None:
                yield None
                continue
            if isinstance(piece, Problem):
                yield f"\n==> {piece.detail} <==\n".encode(errors="replace")
                return
            if attempt not in {None, piece.place.attempt}:
                yield f"==> attempt {piece.place.attempt} <==\n".encode()
            attempt = piece.place.attempt
            yield piece.content


def _why_cut(error: Exception) -> bytes:
    return _JOB_GONE if isinstance(error, JobNotFoundError) else _STORE_AWAY


async def _told(text: AsyncIterator[bytes | None]) -> AsyncIterator[bytes]:
    async for some in text:
        if some is not None:
            yield some


class _Nothing:
    """The log of an attempt that has printed nothing."""

    size_bytes = 0
    etag = '"nothing"'

    def read(self, _start: int, _stop: int) -> bytes:
        return b""

    def begins_with(self, etag: str) -> bool:
        return etag == self.etag

    def close(self) -> None:
        """Hold nothing."""
