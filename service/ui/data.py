"""/ui/data: what lies in the sets of shards that jobs name."""

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from data_shards.manifest import ManifestError
from service.access.caller import Caller, Role
from service.api.dependencies import MAX_INTEGER, Leader, Plane, Submitter, Viewer
from service.control_plane import ControlPlane
from service.submission.manifests import StoreBusyError
from service.ui.data_choice import ChoiceError
from service.ui.data_facts import (
    balance_chart,
    cards_of,
    mean_swatch,
    named_sets,
    pca_swatches,
)
from service.ui.data_looks import Looks
from service.ui.data_program import LookError, is_installed
from service.ui.data_sets import (
    MAX_WHOSE_CHARACTERS,
    Asked,
    located,
    open_asked,
    read_asked,
    seen_jobs,
    wanted_batch,
)
from service.ui.forms import read_form
from service.ui.pages import router as page_router
from service.ui.rendering import page
from trainer.contract.spec import MAX_LOCATION_CHARACTERS

router = page_router()

_SHARDS_SHOWN = 200

Key = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.get("/data")
def data_page(
    request: Request,
    plane: Plane,
    caller: Viewer,
    *,
    location: Annotated[str, Query(max_length=MAX_LOCATION_CHARACTERS)] = "",
    whose: Annotated[str, Query(max_length=MAX_WHOSE_CHARACTERS)] = "",
    step: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
) -> Response:
    """Show a set, the one asked for, else the newest job's; and a batch of it."""
    asked = Asked(location=location.strip(), whose=whose, step=step)
    return _show(request, plane, caller, asked)


@router.post("/data/look")
async def look(request: Request, plane: Leader, caller: Submitter) -> Response:
    """Look into a set, draw a batch of it, and lead back to it."""
    form = await read_form(request)
    return await run_in_threadpool(_look, request, plane, caller, read_asked(form))


@router.get("/data/sheets/{key}.png")
def contact_sheet(request: Request, _caller: Viewer, key: Key) -> Response:
    """Send the contact sheet of an earlier look."""
    return _picture(_looks(request).sheet(key))


@router.get("/data/batches/{key}.png")
def batch(request: Request, _caller: Viewer, key: Key) -> Response:
    """Send the picture of a batch that was drawn."""
    return _picture(_looks(request).batch(key))


def _picture(path: FilePath | None) -> Response:
    if path is None:
        raise HTTPException(404, "there is no such picture; look into the set again")
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="image/png", headers=headers)


def _look(request: Request, plane: ControlPlane, caller: Caller, asked: Asked) -> Response:
    looks = _looks(request)
    try:
        opened = open_asked(plane, caller, asked, seen_jobs(plane, caller))
        wanted = wanted_batch(opened, asked)
        looks.take(opened.key, opened.file)
        if wanted is not None:
            looks.draw(wanted.key, opened.file, wanted.options)
    except (ManifestError, StoreBusyError, ChoiceError):
        # The page tells it.
        return _show(request, plane, caller, asked)
    except LookError as error:
        return _show(request, plane, caller, asked, look_problem=str(error))
    return RedirectResponse(f"/ui/data?{asked.query}", 303)


def _show(
    request: Request,
    plane: ControlPlane,
    caller: Caller,
    asked: Asked,
    *,
    look_problem: str = "",
) -> Response:
    jobs = seen_jobs(plane, caller)
    shown = located(asked, jobs)
    opened = wanted = None
    problem = choice_problem = ""
    try:
        opened = open_asked(plane, caller, shown, jobs) if shown.location else None
        wanted = None if opened is None else wanted_batch(opened, shown)
    except ChoiceError as error:
        choice_problem = str(error)
    except (ManifestError, StoreBusyError) as error:
        problem = str(error)
    looks = _looks(request)
    key, batch_key = (None if one is None else one.key for one in (opened, wanted))
    found = None if key is None else looks.found(key)
    manifest = None if opened is None else opened.manifest
    is_refused = choice_problem or (problem and asked.location)
    return page(
        request,
        caller,
        "data.html",
        status=422 if is_refused else 503 if look_problem else 200,
        sets=named_sets(jobs),
        asked=shown,
        problem=problem,
        grafana=plane.settings.grafana_url,
        look_problem=look_problem,
        is_installed=is_installed(),
        is_leader=plane.is_leader,
        may_look=caller.role.covers(Role.SUBMITTER),
        cards=[] if manifest is None else cards_of(manifest),
        components=[] if manifest is None else pca_swatches(manifest.rgb_pca),
        shards=[] if manifest is None else manifest.shards[:_SHARDS_SHOWN],
        num_shards=0 if manifest is None else len(manifest.shards),
        files=[] if manifest is None else [manifest.index, manifest.mean_image],
        skipped=[] if manifest is None else manifest.packing.skipped_images,
        found=found,
        mean=None if found is None else mean_swatch(found.mean_colour),
        balance=None if found is None else balance_chart(found.classes),
        sheet="" if key is None or not looks.sheet(key) else f"/ui/data/sheets/{key}.png",
        choices=[] if opened is None else opened.choices,
        max_step=MAX_INTEGER,
        wanted=wanted,
        choice_problem=choice_problem,
        batch=f"/ui/data/batches/{batch_key}.png" if batch_key and looks.batch(batch_key) else "",
        drawn=None if batch_key is None else looks.drawn_batch(batch_key),
    )


def _looks(request: Request) -> Looks:
    looks = request.app.state.looks
    assert isinstance(looks, Looks)
    return looks
