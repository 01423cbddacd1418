"""/ui/submit: a job by form or by its spec; what is foreseen of it is shown before it is sent."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access.caller import Caller
from service.api.dependencies import Plane, Submitter, check_leads
from service.api.submit import CallersDesk
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.problems import FieldError, Problem
from service.store.idempotency import KeyInUseError
from service.store.jobs import read_job
from service.submission.desk import Accepted, Desk
from service.ui.forms import read_form
from service.ui.pages import problem_of
from service.ui.pages import router as page_router
from service.ui.plan_facts import plan_facts
from service.ui.rendering import page
from service.ui.request_form import (
    FIELDS,
    RequestError,
    read_request,
    request_of,
    shown_fields,
    values_of,
    why_untold,
)
from service.views.plans import PlannedJob

router = page_router()

# So long the second of two clicks waits for what came of the first.
_SAME_CLICK_S = 10.0
_ASK_AGAIN_S = 0.1
# Jobs whose data are offered to be named again.
_LATEST = 50
_EXAMPLE = {
    "preset": "small",
    "name": "first light",
    "data": {"train": "/data/train/manifest.json", "validation": "/data/validation/manifest.json"},
}


@router.get("/submit")
def submit_page(
    request: Request,
    plane: Plane,
    caller: Submitter,
    *,
    by: Annotated[str, Query(pattern="^(form|spec)$")] = "form",
    clone: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Ask for a job; `clone`: of an earlier one, what differs."""
    if not clone:
        return _show(request, plane, caller, by=by, values={})
    job = plane.store.read_at_once(lambda connection: read_job(connection, clone, seen_by=caller))
    values = {"spec": json.dumps({"clone": job.id, "name": job.spec.name}, indent=2)}
    return _show(request, plane, caller, by="spec", values=values)


@router.post("/submit/plan")
async def plan(request: Request, plane: Plane, caller: Submitter, desk: CallersDesk) -> Response:
    """Show what would become of the job, and what is wrong with it beside the field."""
    values = await read_form(request, max_bytes=None)
    by = _written_by(values)
    try:
        # In a thread: a spec that is pasted may be large.
        asked = await run_in_threadpool(_asked, by, values)
    except RequestError as error:
        refused = [FieldError(field="", message=str(error))]
        return await run_in_threadpool(
            _show, request, plane, caller, by=by, values=values, errors=refused
        )
    try:
        planned = await run_in_threadpool(desk.plan, asked)
    except Exception as error:  # noqa: BLE001  # raised again unless the API has a problem for it
        return await _refused(request, plane, caller, error, by=by, values=values)
    return await run_in_threadpool(
        _show, request, plane, caller, by=by, values=values, asked=asked, planned=planned
    )


@router.post("/submit/turn")
async def turn(request: Request, plane: Plane, caller: Submitter) -> Response:
    """Show by the tab that is asked for what was written by the other, as far as it can be told."""
    values = await read_form(request, max_bytes=None)
    to = "spec" if values.get("to") == "spec" else "form"
    by, turned, errors = await run_in_threadpool(_turned, _written_by(values), to, values)
    return await run_in_threadpool(
        _show, request, plane, caller, by=by, values=turned, errors=errors
    )


@router.post("/submit")
async def submit(request: Request, plane: Plane, caller: Submitter, desk: CallersDesk) -> Response:
    """Accept the job that was shown, once however often the button is pressed, and lead to it."""
    values = await read_form(request, max_bytes=None)
    by = _written_by(values)
    try:
        # Not by the route's own rule: what was filled in is to stay.
        check_leads(plane)
        asked = await run_in_threadpool(_asked, by, values)
        keep_for = timedelta(hours=plane.settings.idempotency_key_hours)
        key = values.get("key") or None
        accepted = await run_in_threadpool(_submit, desk, asked, key, keep_for)
    except RequestError as error:
        refused = [FieldError(field="", message=str(error))]
        return await run_in_threadpool(
            _show, request, plane, caller, by=by, values=values, errors=refused
        )
    except Exception as error:  # noqa: BLE001  # raised again unless the API has a problem for it
        return await _refused(request, plane, caller, error, by=by, values=values)
    plane.wake()
    return RedirectResponse(f"/ui/jobs/{accepted.job.id}", 303)


def _written_by(values: Mapping[str, str]) -> str:
    """Return the tab that was filled in: that by spec has one field, which no other has."""
    return "spec" if "spec" in values else "form"


def _turned(
    by: str, to: str, values: Mapping[str, str]
) -> tuple[str, Mapping[str, str], Sequence[FieldError]]:
    """Return the tab that can show it, what it shows, and why it is not the one asked for."""
    if by == to:
        return by, values, ()
    if to == "spec":
        asked = request_of(values)
        # An example stands where nothing was written.
        document = asked if _own(asked) else _EXAMPLE | asked
        return "spec", {"spec": json.dumps(document, indent=2)}, ()
    try:
        asked = read_request(values.get("spec", ""))
    except RequestError as error:
        return "spec", values, [FieldError(field="", message=str(error))]
    if _own(asked) == _own(_EXAMPLE):
        asked = {"preset": asked["preset"]} if "preset" in asked else {}
    filled, untold = values_of(asked)
    if untold:
        return "spec", values, [FieldError(field=one, message=why_untold(one)) for one in untold]
    return "form", filled, ()


def _own(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written into a request; its preset is chosen before anything is."""
    return {key: value for key, value in asked.items() if key != "preset"}


def _asked(by: str, values: Mapping[str, str]) -> dict[str, Any]:
    return read_request(values.get("spec", "")) if by == "spec" else request_of(values)


def _submit(desk: Desk, asked: Mapping[str, Any], key: str | None, keep_for: timedelta) -> Accepted:
    until = time.monotonic() + _SAME_CLICK_S
    while True:
        try:
            return desk.submit(asked, key=key, keep_for=keep_for)
        except KeyInUseError:
            if time.monotonic() >= until:
                raise
            time.sleep(_ASK_AGAIN_S)


async def _refused(
    request: Request,
    plane: ControlPlane,
    caller: Caller,
    error: Exception,
    *,
    by: str,
    values: Mapping[str, str],
) -> Response:
    problem = await problem_of(request, error)
    if problem is None:
        raise error
    return await run_in_threadpool(
        _show, request, plane, caller, by=by, values=values, problem=problem, errors=problem.errors
    )


def _show(
    request: Request,
    plane: ControlPlane,
    caller: Caller,
    *,
    by: str,
    values: Mapping[str, str],
    problem: Problem | None = None,
    errors: Any = (),
    asked: Mapping[str, Any] | None = None,
    planned: PlannedJob | None = None,
) -> Response:
    fields, others = shown_fields(values, errors)
    status = problem.status if problem is not None else 422 if errors else 200
    return page(
        request,
        caller,
        "submit.html",
        status=status,
        by=by,
        fields=fields,
        private=bool(values.get("private")),
        spec=values.get("spec") or json.dumps(_EXAMPLE, indent=2),
        locations=_locations(plane, caller),
        problem=problem,
        errors=list(errors) if by == "spec" else others,
        asked=None if asked is None else json.dumps(asked, indent=2),
        written=_written(by, values),
        # New for each plan: what was changed is another job.
        key=secrets.token_urlsafe(16),
        name=None if planned is None else planned.spec.name,
        facts=None if planned is None else plan_facts(planned.plan),
    )


def _written(by: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return what is sent again with a job that was shown: by it a refused one is shown again."""
    names = ["spec"] if by == "spec" else [*(field.path for field in FIELDS), "private"]
    return {name: values[name] for name in names if values.get(name)}


def _locations(plane: ControlPlane, caller: Caller) -> list[str]:
    """Return where the data of the newest jobs lie that the caller is told of."""
    found = plane.store.jobs(seen_by=caller, limit=_LATEST)
    specs = [job.spec for job in found if isinstance(job, JobRecord)]
    return sorted({where for spec in specs for where in (spec.data.train, spec.data.validation)})
