"""/ui/: the table of jobs, and the stream of its rows that change."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import Connection

from service.access.caller import Caller
from service.api.dependencies import Plane, Viewer
from service.api.errors import RefusedRequestError
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord, UnreadableJob
from service.problems import ProblemType
from service.steady_clock import now_utc
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.jobs import read_job
from service.store.search import WINDOW, search_jobs
from service.ui.compare import Ids
from service.ui.compare_facts import MAX_JOBS, MIN_JOBS
from service.ui.filters import FilterError, Filters
from service.ui.live import stream
from service.ui.live_rows import LiveRows
from service.ui.orders import SHOWN, Order, in_order
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
    owner: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    order: str = "",
    cursor: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    ticked: Ids = [],  # noqa: B006
) -> Filters:
    # A form sends what was left empty, too.
    asked = Filters(
        status=Status(status) if status in set(Status) else None,
        label=label,
        q=_askable(q),
        owner=_askable(owner).strip(),
        order=Order(order) if order in set(Order) else Order.NEWEST,
        ticked=tuple(dict.fromkeys(one for one in ticked if one)),
    )
    return asked.turned_to(cursor)


def _askable(text: str) -> str:
    """Return what a database does not refuse to be asked for."""
    return "".join(character for character in text if character.isprintable())


Asked = Annotated[Filters, Depends(_filters)]


@dataclass(frozen=True, kw_only=True)
class _Page:
    jobs: Sequence[JobRecord]
    unreadable: Sequence[UnreadableJob] = ()
    further: int | None = None
    """Cursor of the next page; None: there is none."""


@router.get("/")
def jobs_page(
    request: Request,
    plane: Plane,
    caller: Viewer,
    filters: Asked,
    *,
    compare: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    every: Annotated[str, Query(max_length=MAX_TEXT)] = "",
) -> Response:
    """Show the jobs that are asked for.

    `compare`: lead to those that are ticked, side by side; `every`: to all, with these ticked.
    """
    ticked = filters.ticked
    if every:
        return RedirectResponse(f"/ui/{Filters(ticked=ticked).query()}", 303)
    if compare and MIN_JOBS <= len(ticked) <= MAX_JOBS:
        return RedirectResponse(f"/ui/compare?{urlencode({'job': ticked}, doseq=True)}", 303)
    error, found = "", _Page(jobs=())
    try:
        found = _read(request, plane, caller, filters)
    except FilterError as refused:
        error = str(refused)
    return page(
        request,
        caller,
        "jobs.html",
        status=422 if error or compare else 200,
        rows=_rows(request, plane, caller, found.jobs),
        unreadable=found.unreadable,
        further=found.further,
        window=WINDOW,
        filters=filters,
        ticked=ticked,
        ticked_elsewhere=_ticked_elsewhere(plane, caller, ticked, found.jobs),
        num_refused=len(ticked) if compare else None,
        orders=SHOWN,
        label_error=error,
        grafana=plane.settings.grafana_url,
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
        found = _read(request, plane, caller, filters)
        return found.jobs, found.further

    look = LiveRows(
        caller=caller,
        filters=filters,
        page=shown,
        live=request.app.state.live_jobs.get,
        job=plane.store.job,
        rows=lambda jobs: _rows(request, plane, caller, jobs),
    )
    return stream(request, plane, look)


def _read(request: Request, plane: ControlPlane, caller: Caller, filters: Filters) -> _Page:
    # Refused in every order alike: what is sorted by its figures may have no job to try them on.
    labels = filters.labels
    if filters.order.is_of_live:
        return _sorted(request.app.state.live_jobs.get(), caller, filters)
    if filters.q.strip():
        return _search(plane, caller, filters)
    found = plane.store.jobs(
        status=filters.status,
        labels=labels,
        owner=filters.owner or None,
        seen_by=caller,
        before_seq=filters.cursor,
        oldest_first=filters.order is Order.OLDEST,
        limit=PAGE + 1,
    )
    return _page(found[:PAGE], further=found[PAGE - 1].seq if len(found) > PAGE else None)


def _sorted(live: Iterable[JobRecord], caller: Caller, filters: Filters) -> _Page:
    """Cut a page from the jobs that have not ended, all of which are in memory."""
    asked = [job for job in live if caller.may_see(job.ownership) and filters.takes(job)]
    first = filters.cursor or 0
    end = first + PAGE
    page = in_order(asked, filters.order)[first:end]
    return _Page(jobs=page, further=end if len(asked) > end else None)


def _search(plane: ControlPlane, caller: Caller, filters: Filters) -> _Page:
    found = plane.store.read(
        lambda connection: search_jobs(
            connection,
            filters.q,
            filters.labels,
            status=filters.status,
            owner=filters.owner or None,
            seen_by=caller,
            before_seq=filters.cursor,
            oldest_first=filters.order is Order.OLDEST,
            limit=PAGE,
            window=WINDOW,
        )
    )
    return _page(found.jobs, further=found.next_cursor)


def _page(shown: Sequence[JobRecord | UnreadableJob], *, further: int | None) -> _Page:
    return _Page(
        jobs=[job for job in shown if isinstance(job, JobRecord)],
        unreadable=[job for job in shown if isinstance(job, UnreadableJob)],
        further=further,
    )


def _ticked_elsewhere(
    plane: ControlPlane, caller: Caller, ticked: Sequence[str], shown: Sequence[JobRecord]
) -> list[JobRecord]:
    """Return the ticked jobs that other pages show; what is none, or is gone, is ticked no more."""
    ids = [one for one in ticked if one not in {job.id for job in shown}]

    def read(connection: Connection) -> list[JobRecord]:
        found = []
        for job_id in ids:
            with suppress(JobNotFoundError, UnreadableJobError):
                found.append(read_job(connection, job_id, seen_by=caller))
        return found

    return plane.store.read(read) if ids else []


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
