"""/ui/data: what lies in the sets of shards that jobs name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from data_shards.manifest import Manifest, ManifestError
from service.access.caller import Caller, Role
from service.api.dependencies import Leader, Plane, Submitter, Viewer
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.submission.admission import confine
from service.submission.manifests import StoreBusyError, read_manifest
from service.ui.data_facts import (
    NamedSet,
    balance_chart,
    cards_of,
    mean_swatch,
    named_sets,
    pca_swatches,
)
from service.ui.data_looks import LookError, Looks, is_installed, key_of
from service.ui.forms import read_form
from service.ui.pages import router as page_router
from service.ui.rendering import page
from trainer.contract.spec import MAX_LOCATION_CHARACTERS

router = page_router()

# Jobs whose data are listed.
_LATEST = 200
_SHARDS_SHOWN = 200

Key = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A set that was asked for."""

    file: str
    """True path, or URL, of its manifest."""
    manifest: Manifest
    key: str


@router.get("/data")
def data_page(
    request: Request,
    plane: Plane,
    caller: Viewer,
    *,
    location: Annotated[str, Query(max_length=MAX_LOCATION_CHARACTERS)] = "",
) -> Response:
    """Show a set: the one asked for, else the newest job's."""
    return _show(request, plane, caller, location.strip())


@router.post("/data/look")
async def look(request: Request, plane: Leader, caller: Submitter) -> Response:
    """Look into a set, and lead back to it."""
    form = await read_form(request)
    location = form.get("location", "").strip()[:MAX_LOCATION_CHARACTERS]
    return await run_in_threadpool(_look, request, plane, caller, location)


@router.get("/data/sheets/{key}.png")
def contact_sheet(request: Request, _caller: Viewer, key: Key) -> Response:
    """Send the contact sheet of an earlier look."""
    return _picture(_looks(request).sheet(key))


@router.get("/data/batches/{key}.png")
def batch(request: Request, _caller: Viewer, key: Key) -> Response:
    """Send the picture of a batch of an earlier look."""
    return _picture(_looks(request).batch(key))


def _picture(path: FilePath | None) -> Response:
    if path is None:
        raise HTTPException(404, "there is no such picture; look into the set again")
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="image/png", headers=headers)


def _look(request: Request, plane: ControlPlane, caller: Caller, location: str) -> Response:
    try:
        opened = _open(plane, caller, location, _named(plane, caller))
        draws_batch = _is_trained_on(opened.manifest)
        _looks(request).take(opened.key, opened.file, draws_batch=draws_batch)
    except (ManifestError, StoreBusyError):
        # The page tells it.
        return _show(request, plane, caller, location)
    except LookError as error:
        return _show(request, plane, caller, location, look_problem=str(error))
    return RedirectResponse(f"/ui/data?{urlencode({'location': location})}", 303)


def _show(
    request: Request,
    plane: ControlPlane,
    caller: Caller,
    location: str,
    *,
    look_problem: str = "",
) -> Response:
    sets = _named(plane, caller)
    shown = location or (sets[0].location if sets else "")
    opened, problem = None, ""
    try:
        opened = _open(plane, caller, shown, sets) if shown else None
    except (ManifestError, StoreBusyError) as error:
        problem = str(error)
    looks, key = _looks(request), "" if opened is None else opened.key
    found = looks.found(key) if key else None
    manifest = None if opened is None else opened.manifest
    return page(
        request,
        caller,
        "data.html",
        status=422 if problem and location else 503 if look_problem else 200,
        sets=sets,
        shown=shown,
        problem=problem,
        look_problem=look_problem,
        is_installed=is_installed(),
        cards=[] if manifest is None else cards_of(manifest),
        components=[] if manifest is None else pca_swatches(manifest.rgb_pca),
        shards=[] if manifest is None else manifest.shards[:_SHARDS_SHOWN],
        num_shards=0 if manifest is None else len(manifest.shards),
        files=[] if manifest is None else [manifest.index, manifest.mean_image],
        skipped=[] if manifest is None else manifest.packing.skipped_images,
        found=found,
        mean=None if found is None else mean_swatch(found.mean_colour),
        balance=None if found is None else balance_chart(found.classes),
        sheet="" if looks.sheet(key) is None else f"/ui/data/sheets/{key}.png",
        batch="" if looks.batch(key) is None else f"/ui/data/batches/{key}.png",
        drawn=looks.drawn_batch(key),
        lacks_batch=manifest is not None
        and _is_trained_on(manifest)
        and looks.drawn_batch(key) is None,
        why_no_batch=looks.why_no_batch(key) if key else "",
    )


def _is_trained_on(manifest: Manifest) -> bool:
    """Whether a set is shuffled, cropped and coloured, by its name: others are measured on."""
    return manifest.split.startswith("train")


def _open(plane: ControlPlane, caller: Caller, location: str, sets: Sequence[NamedSet]) -> _Opened:
    """Read a set's manifest. Raises ManifestError, StoreBusyError."""
    # Whoever submits is told as much of every path below the roots.
    is_named = any(one.location == location for one in sets)
    if not is_named and not caller.role.covers(Role.SUBMITTER):
        raise ManifestError(
            "no job that you can see names this set; a token that may submit jobs may look at "
            "others too"
        )
    file = confine(location, plane.settings.data_roots)
    manifest = read_manifest(file)
    return _Opened(file=file, manifest=manifest, key=key_of(manifest, file))


def _named(plane: ControlPlane, caller: Caller) -> list[NamedSet]:
    found = plane.store.jobs(seen_by=caller, limit=_LATEST)
    return named_sets(job for job in found if isinstance(job, JobRecord))


def _looks(request: Request) -> Looks:
    looks = request.app.state.looks
    assert isinstance(looks, Looks)
    return looks
