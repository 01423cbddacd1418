"""/ui/compare: curves, results and specs of two to eight jobs side by side, and what changes."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import StringConstraints
from sqlalchemy import Connection

from service.access.caller import Caller
from service.api.dependencies import Plane, Viewer
from service.api.errors import RefusedRequestError
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.problems import ProblemType
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.store.jobs import read_job
from service.ui.compare_charts import compare_charts
from service.ui.compare_facts import (
    MAX_JOBS,
    MIN_JOBS,
    columns_of,
    problem_with,
    result_rows,
    spec_rows,
)
from service.ui.compare_live import LiveCompare
from service.ui.compare_shared import LOOK_EVERY_S, SharedCurves
from service.ui.compared import AXES, By, Compared, published_note
from service.ui.job.published import published_beside
from service.ui.live import stream
from service.ui.live_charts import asked_ids, chart_ids
from service.ui.pages import router as page_router
from service.ui.rendering import page

router = page_router()

# Of one table, whose boxes are all ticked; more are refused before any is read.
_MAX_IDS = 100
MAX_TEXT = 200

Ids = Annotated[
    list[Annotated[str, StringConstraints(max_length=64, strip_whitespace=True)]],
    Query(alias="job", max_length=_MAX_IDS),
]


@router.get("/compare")
def compare_page(
    request: Request,
    plane: Plane,
    caller: Viewer,
    *,
    asked: Ids = [],  # noqa: B006
    by: By = "step",
) -> Response:
    """Show the jobs side by side, or ask for jobs."""
    ids = _given(asked)
    jobs, unknown = _read_jobs(plane, caller, ids) if len(ids) <= MAX_JOBS else ([], [])
    problem = problem_with(ids, unknown)
    status = 200 if not problem else 404 if unknown else 422
    is_shown = not problem and len(jobs) >= MIN_JOBS
    compared = [_compared(request, job) for job in jobs] if is_shown else []
    rows = spec_rows(jobs) if is_shown else []
    charts = compare_charts(compared, by)
    lives = is_shown and not all(job.is_terminal for job in jobs)
    return page(
        request,
        caller,
        "compare.html",
        status=status,
        problem=problem,
        columns=columns_of(jobs),
        has_room=len(jobs) < MAX_JOBS,
        is_shown=is_shown,
        charts=charts,
        by=by,
        axes=[(_page_of(ids, one), words, one == by) for one, words in AXES.items()],
        stream=_stream_of(ids, chart_ids(charts), by) if lives else "",
        results=result_rows(compared),
        results_note=published_note(compared),
        different=[row for row in rows if row.differs],
        equal=[row for row in rows if not row.differs],
    )


@router.get("/live/compare")
def compare_stream(
    request: Request,
    plane: Plane,
    caller: Viewer,
    *,
    asked: Ids = [],  # noqa: B006
    charts: Annotated[str, Query(max_length=MAX_TEXT)] = "",
    by: By = "step",
) -> Response:
    """Send what the page shows, and then what changes, until all the jobs have ended."""
    ids = _given(asked)
    if not MIN_JOBS <= len(ids) <= MAX_JOBS:
        raise RefusedRequestError(
            ProblemType.INVALID_REQUEST, f"give {MIN_JOBS} to {MAX_JOBS} jobs to compare"
        )

    def jobs() -> Sequence[JobRecord]:
        # Those that have ended too: one may have been deleted, or made private.
        found, unknown = _read_jobs(plane, caller, ids)
        if not found:
            raise JobNotFoundError(unknown[0])
        return found

    # Whoever may not see one is told so before anything is streamed; one that goes later is left
    # out, and the others go on.
    _, unknown = _read_jobs(plane, caller, ids)
    if unknown:
        raise JobNotFoundError(unknown[0])
    read: set[str] = set()

    def compared(job: JobRecord) -> Compared:
        # Once, as another process may have made the page; not again and again.
        is_first = job.id not in read
        read.add(job.id)
        return _compared(request, job, may_read_manifest=is_first)

    look = LiveCompare(jobs=jobs, read=compared, charts=asked_ids(charts), by=by)
    return stream(request, plane, look, every_s=LOOK_EVERY_S)


def _given(asked: Sequence[str]) -> list[str]:
    # A form sends what was left empty, too.
    return list(dict.fromkeys(one for one in asked if one))


def _page_of(ids: Sequence[str], by: By) -> str:
    return f"/ui/compare?{urlencode([*(('job', one) for one in ids), ('by', by)])}"


def _stream_of(ids: Sequence[str], charts: Sequence[str], by: By) -> str:
    pairs = [*(("job", one) for one in ids), ("charts", ",".join(charts)), ("by", by)]
    return f"/ui/live/compare?{urlencode(pairs)}"


def _read_jobs(
    plane: ControlPlane, caller: Caller, ids: Sequence[str]
) -> tuple[list[JobRecord], list[str]]:
    """Return the jobs, and the ids of what is none, or none that the caller is told of."""
    found, unknown = [], []

    def read(connection: Connection) -> None:
        for job_id in ids:
            try:
                found.append(read_job(connection, job_id, seen_by=caller))
            except (JobNotFoundError, UnreadableJobError):
                unknown.append(job_id)

    plane.store.read(read)
    return found, unknown


def _compared(request: Request, job: JobRecord, *, may_read_manifest: bool = True) -> Compared:
    shared: SharedCurves = request.app.state.curves
    curves = shared.of(job)
    return Compared(
        job=curves.job,
        history=curves.history,
        num_samples=curves.num_samples,
        published=published_beside(job, curves.report, may_read=may_read_manifest),
    )
