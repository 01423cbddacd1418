"""Streams of what changes on a page: live.js says what each message does."""

import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from fastapi import Request, Response
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from service.api.senders import Sender, while_let_in
from service.api.streams import KEEP_ALIVE_S, SlottedStream, until_gone
from service.control_plane import ControlPlane

LOOK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One message to the page."""

    kind: Literal["fragment", "append", "figure", "gone"]
    target: str
    """Id of the element, or of the chart."""
    html: str | None = None
    into: str | None = None
    """Of a fragment: the element that begins with it where there is no such target yet."""
    figure: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What has changed since the last look."""

    changes: Sequence[Change] = ()
    is_last: bool = False
    """Whether nothing more will change."""


def stream(
    request: Request,
    plane: ControlPlane,
    look: Callable[[], Look],
    *,
    every_s: float = LOOK_EVERY_S,
) -> Response:
    """Answer with what `look`, called again and again in a thread, finds; takes a stream's slot.

    It ends where the store does not answer: the page tries again, and says so meanwhile.
    """
    frames = until_gone(_frames(plane, look, every_s))
    return SlottedStream(while_let_in(frames, Sender.of(request.scope), every_s=KEEP_ALIVE_S))


async def _frames(
    plane: ControlPlane, look: Callable[[], Look], every_s: float
) -> AsyncGenerator[bytes]:
    spoke_at = time.monotonic()
    yield _frame("alive", {})
    while not plane.is_stopping:
        seen = await run_in_threadpool(look)
        for change in seen.changes:
            yield frame_of(change)
            spoke_at = time.monotonic()
        if seen.is_last:
            yield _frame("ended", {})
            return
        if time.monotonic() - spoke_at > KEEP_ALIVE_S:
            # A comment would be nothing to the page's script.
            yield _frame("alive", {})
            spoke_at = time.monotonic()
        await anyio.sleep(every_s)


def frame_of(change: Change) -> bytes:
    """Write a change as the stream carries it."""
    told = {
        "target": change.target,
        "html": change.html,
        "into": change.into,
        "figure": change.figure,
    }
    return _frame(change.kind, {key: value for key, value in told.items() if value is not None})


def _frame(event: str, told: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(told))
