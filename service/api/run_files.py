"""Files of a run directory over HTTP: whole or by range, and what is said where there are none."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from service.access.slots import Slots
from service.api.errors import RETRY, RefusedRequestError
from service.api.senders import Sender
from service.metrics import downloads
from service.problems import Problem, ProblemType
from service.run_files.confined import NoSuchFileError
from service.run_files.content import CHUNK_BYTES, Content
from service.run_files.ranges import UnsatisfiableRangeError, parse_range
from service.settings import Settings

RANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It has the tag that `If-None-Match` names."},
    206: {"description": "The range that was asked for; `Content-Range` says which."},
    416: {"model": Problem, "description": "The range begins behind the last byte."},
    429: {
        "model": Problem,
        "description": "Too many requests, or the sender has as many downloads open as one may.",
    },
    503: {
        "model": Problem,
        "description": "The disk of the run root cannot be used, or as many downloads are open as "
        "may be.",
    },
}
# What lies in a run directory is shown by no browser as a page of this service.
_HEADERS = {
    "Accept-Ranges": "bytes",
    # What a token lets one see is kept for nobody else, and asked for anew before it is shown.
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "sandbox",
    "X-Content-Type-Options": "nosniff",
}


def download_slots(settings: Settings) -> Slots:
    """Return the slots of one application's downloads."""
    return Slots(
        "downloads",
        settings.max_downloads,
        per_sender=settings.max_open_per_sender,
        mend="try again, or have the operator raise ALEXNET_MAX_DOWNLOADS",
    )


@contextmanager
def reading(run: Path) -> Iterator[None]:
    """Raise problems for what a run directory has not, or where it cannot be read."""
    try:
        yield
    except NoSuchFileError as error:
        raise HTTPException(404, str(error)) from error
    except OSError as error:
        detail = unusable(run, error)
        raise RefusedRequestError(ProblemType.DISK_UNAVAILABLE, detail, headers=RETRY) from error


def unusable(run: Path, error: OSError) -> str:
    """Say, for people, that a run directory cannot be read, and what to do."""
    return (
        f"the run directory {run} cannot be used ({error}); bring back the disk of the run root, "
        "or let the service read and write there"
    )


class RangedResponse(StreamingResponse):
    """Sends what is asked for of a content, a chunk at a time, and closes it whatever happens.

    Of what whoever asks has already, by its tag, nothing but that; else it holds one of the
    application's slots meanwhile.
    """

    def __init__(
        self,
        content: Content,
        request: Request,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        start: int = 0,
    ) -> None:
        """Raise RefusedRequestError, with the content closed, where the range is beyond it.

        `start`: of what is sent where no range is asked for.
        """
        self._content = content
        # Of a tail, which is no range, the tag would be of the whole.
        if start == 0 and _is_known(request, content):
            tag = {"ETag": content.etag}
            super().__init__(_chunks(content, 0, 0), 304, headers={**_HEADERS, **tag})
            return
        try:
            asked = _range_of(request, content)
        except UnsatisfiableRangeError as error:
            content.close()
            raise RefusedRequestError(
                ProblemType.NO_SUCH_RANGE,
                str(error),
                headers={"Content-Range": f"bytes */{error.size_bytes}"},
            ) from error
        start, stop = asked or (start, content.size_bytes)
        tag = {"ETag": content.etag} if asked or start == 0 else {}
        of = {"Content-Range": f"bytes {start}-{stop - 1}/{content.size_bytes}"} if asked else {}
        length = {"Content-Length": str(stop - start)}
        super().__init__(
            _chunks(content, start, stop),
            206 if asked else 200,
            headers={**_HEADERS, **(headers or {}), **tag, **of, **length},
            media_type=media_type,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises NoSlotError before anything is sent."""
        slots = scope["app"].state.download_slots
        assert isinstance(slots, Slots)
        try:
            if self.status_code == 304:
                await super().__call__(scope, receive, send)
                return
            with slots.take(Sender.of(scope).key), downloads.track_inprogress():
                await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._content.close)


def _is_known(request: Request, content: Content) -> bool:
    """Whether `If-None-Match` names the content as it is; before any range, and weak tags too."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    tags = [one.strip() for one in sent.split(",")]
    return "*" in tags or content.etag in [one.removeprefix("W/") for one in tags]


def _range_of(request: Request, content: Content) -> tuple[int, int] | None:
    header, condition = request.headers.get("range"), request.headers.get("if-range")
    if header is None or (condition is not None and not content.begins_with(condition)):
        return None
    return parse_range(header, content.size_bytes)


async def _chunks(content: Content, start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        end = min(stop, start + CHUNK_BYTES)
        yield await run_in_threadpool(content.read, start, end)
        start = end
