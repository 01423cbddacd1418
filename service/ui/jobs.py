"""/ui/: the table of jobs, and the stream of its rows that change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from sqlalchemy import Connection

from service.access.caller import Caller
from service.api.dependencies import MAX_INTEGER, Plane, Viewer
from service.api.errors import RefusedRequestError
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord, UnreadableJob
from service.problems import ProblemType
from service.steady_clock import now_utc
from service.store.search import search_jobs
from service.ui.filters import FilterError, Filters
from service.ui.live import stream
from service.ui.live_rows import LiveRows
from service.ui.pages import router as page_router
from service.ui.rendering import page
from service.ui.rows import JobRow, job_row
from service.ui.sparks import Sparks
from trainer.contract.status import Status

router = page_router()

PAGE = 50
MAX_TEXT = 200


def _filters(
    *,
    status: str = "",
    label: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    q: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    cursor: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
) -> Filters:
    # A form sends what was left empty, too.
    known = Status(status) if status in set(Status) else None
    # A database may refuse to be asked for the rest.
    sought = "".join(character for character in q if character.isprintable())
    return Filters(status=known, label=label, q=sought, cursor=cursor)


Asked = Annotated[Filters, Depends(_filters)]


@dataclass(frozen=True, kw_only=True)
class _Page:
    jobs: Sequence[JobRecord]
    unreadable: Sequence[UnreadableJob] = ()
    older: int | None = None
    """Cursor of the next page; None: there is none."""


@router.get("/")
def jobs_page(request: Request, plane: Plane, caller: Viewer, filters: Asked) -> Response:
    """Show the newest jobs, those asked for."""
    error, found = "", _Page(jobs=())
    try:
        found = _read(plane, caller, filters)
    except FilterError as refused:
        error = str(refused)
    return page(
        request,
        caller,
        "jobs.html",
        status=422 if error else 200,
        rows=_rows(request, plane, caller, found.jobs),
        unreadable=found.unreadable,
        older=None if found.older is None else filters.query(cursor=found.older),
        newest=None if filters.cursor is None else filters.query(cursor=None),
        filters=filters,
        label_error=error,
        statuses=[*Status],
        stream="" if error else f"/ui/live/jobs{filters.query()}",
        back=f"/ui/{filters.query()}",
        now=now_utc(),
    )


@router.get("/live/jobs")
def jobs_stream(request: Request, plane: Plane, caller: Viewer, filters: Asked) -> Response:
    """Send the page's rows, and then those that change."""
    try:
        _ = filters.labels
    except FilterError as error:
        raise RefusedRequestError(ProblemType.INVALID_REQUEST, str(error)) from error

    def shown() -> tuple[Sequence[JobRecord], int | None]:
        found = _read(plane, caller, filters)
        return found.jobs, found.older

    look = LiveRows(
        caller=caller,
        filters=filters,
        page=shown,
        live=request.app.state.live_jobs.get,
        job=plane.store.job,
        rows=lambda jobs: _rows(request, plane, caller, jobs),
    )
    return stream(request, plane, look)


def _read(plane: ControlPlane, caller: Caller, filters: Filters) -> _Page:
    if filters.q.strip():
        return _search(plane, caller, filters)
    found = plane.store.jobs(
        status=filters.status,
        labels=filters.labels,
        seen_by=caller,
        before_seq=filters.cursor,
        limit=PAGE + 1,
    )
    return _page(found[:PAGE], older=found[PAGE - 1].seq if len(found) > PAGE else None)


def _search(plane: ControlPlane, caller: Caller, filters: Filters) -> _Page:
    found = plane.store.read(
        lambda connection: search_jobs(
            connection,
            filters.q,
            filters.labels,
            status=filters.status,
            seen_by=caller,
            before_seq=filters.cursor,
            limit=PAGE,
        )
    )
    return _page(found.jobs, older=found.next_cursor)


def _page(shown: Sequence[JobRecord | UnreadableJob], *, older: int | None) -> _Page:
    return _Page(
        jobs=[job for job in shown if isinstance(job, JobRecord)],
        unreadable=[job for job in shown if isinstance(job, UnreadableJob)],
        older=older,
    )


def _rows(
    request: Request, plane: ControlPlane, caller: Caller, jobs: Iterable[JobRecord]
) -> list[JobRow]:
    sparks: Any = request.app.state.sparks
    assert isinstance(sparks, Sparks)
    listed = list(jobs)

    def read(connection: Connection) -> list[JobRow]:
        lines = sparks.read(connection, listed)
        return [job_row(job, caller, lines.get(job.id, "")) for job in listed]

    return plane.store.read(read)
