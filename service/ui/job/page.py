"""/ui/jobs/{id}: the page of a job, and the stream of what changes on it."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, HTTPException, Query, Request, Response

from service.api.checkpoints import Step
from service.api.dependencies import MAX_INTEGER, Plane, SeenJobId, Viewer
from service.control_plane import ControlPlane
from service.steady_clock import now_utc
from service.ui.job.facts import State, read_drawn, read_state
from service.ui.job.follower import Follower
from service.ui.job.live import LiveJob
from service.ui.job.log import LogReader
from service.ui.job.pictures import guessed
from service.ui.job.recipes import recipes
from service.ui.job.sections import quick_sections, slow_sections
from service.ui.job.shared import SharedJobs, read_overview
from service.ui.live import stream
from service.ui.live_charts import asked_ids, chart_ids
from service.ui.pages import router as page_router
from service.ui.rendering import HEADERS, fragment, page

router = page_router()

MAX_TEXT = 200


@dataclass(frozen=True, kw_only=True)
class _Asked:
    attempt: int | None
    """Whose log; None: the newest's, and those that follow."""
    step: int | None
    """Of which pictures; None: the newest."""


def _asked(
    *,
    attempt: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
    step: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
) -> _Asked:
    return _Asked(attempt=attempt, step=step)


Asked = Annotated[_Asked, Depends(_asked)]


@router.get("/jobs/{job_id}")
def job_page(
    request: Request, plane: Plane, caller: Viewer, job_id: SeenJobId, *, asked: Asked
) -> Response:
    """Show a job."""
    state = read_state(plane, caller, job_id)
    log = _log(plane, state, asked)
    job = state.job
    text = log.read([one.number for one in state.attempts], is_over=job.is_terminal)
    overview = read_overview(plane, state, may_read_manifest=True)
    sections = [
        *quick_sections(state, caller, asked.attempt),
        *slow_sections(state, caller, overview.found, asked.step),
    ]
    query = {
        "charts": ",".join(chart_ids(overview.charts)),
        "attempt": asked.attempt,
        "step": asked.step,
    }
    given = urlencode({key: value for key, value in query.items() if value is not None})
    return page(
        request,
        caller,
        "job/page.html",
        job_id=job_id,
        name=job.spec.name,
        grafana=plane.settings.grafana_url,
        views={section.id: section.view for section in sections},
        charts=overview.charts,
        curves=overview.found.curves,
        recipes=recipes(
            job.spec, str(request.base_url).rstrip("/"), by_token=caller.token_id is not None
        ),
        log_text=text,
        log_trouble=log.trouble,
        stream="" if job.is_terminal else f"/ui/live/jobs/{job_id}?{given}",
        now=now_utc(),
    )


@router.get("/live/jobs/{job_id}")
def job_stream(
    request: Request,
    plane: Plane,
    caller: Viewer,
    job_id: SeenJobId,
    *,
    asked: Asked,
    charts: Annotated[str, Query(max_length=MAX_TEXT)] = "",
) -> Response:
    """Send what the page shows, and then what changes, until the job has ended."""
    shared: SharedJobs = request.app.state.shared_jobs
    follower = Follower(
        plane=plane,
        caller=caller,
        job_id=job_id,
        shared=shared.of(job_id),
        attempt=asked.attempt,
        step=asked.step,
    )
    look = LiveJob(
        pulse=follower.pulse,
        head=follower.head,
        quick=follower.quick,
        slow=follower.slow,
        log=_log(plane, read_state(plane, caller, job_id), asked),
        charts=asked_ids(charts),
    )
    return stream(request, plane, look)


@router.get("/jobs/{job_id}/guesses/{step}")
def guesses(plane: Plane, job_id: SeenJobId, step: Step) -> Response:
    """Send what images were taken for after a step, as a part of the page."""
    drawn = read_drawn(plane, job_id, plane.store.attempt_numbers(job_id))
    found = next((one for one in drawn if one.step == step), None)
    if found is None:
        raise HTTPException(404, f"job {job_id} has no pictures of step {step}")
    html = fragment("job/guesses.html", images=guessed(job_id, found))
    return Response(html, media_type="text/html", headers=dict(HEADERS))


def _log(plane: ControlPlane, state: State, asked: _Asked) -> LogReader:
    numbers = [one.number for one in state.attempts]
    if asked.attempt is not None and asked.attempt not in numbers:
        raise HTTPException(
            404, f"job {state.job.id} has no attempt {asked.attempt}; choose another"
        )
    newest = numbers[-1] if numbers else 0
    return LogReader(
        run=plane.settings.run_root / state.job.id,
        attempt=newest if asked.attempt is None else asked.attempt,
        follows=asked.attempt is None,
    )
