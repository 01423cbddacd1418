"""/jobs/{id}/checkpoints: list, download, pin, delete."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Path as InPath

from service.access.audit import Action
from service.access.caller import Caller
from service.api.dependencies import (
    INVALID,
    MAX_INTEGER,
    Leader,
    OwnJobId,
    Plane,
    SeenJobId,
    Submitter,
)
from service.api.errors import RefusedRequestError
from service.api.present import checkpoint_view
from service.api.run_files import RANGED, RangedResponse, reading
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.problems import Problem, ProblemType
from service.run_files.checkpoint_tar import CheckpointTar
from service.run_files.confined import NoSuchFileError
from service.run_files.kept_checkpoints import (
    KeptCheckpoint,
    checkpoint_of,
    kept_checkpoints,
    why_not_deleted,
)
from service.steady_clock import now_utc
from service.store.audit import note_audit
from service.store.losses import losses_before
from service.views.jobs import Checkpoint, CheckpointList
from trainer.contract.pins import clear_discarded, discard, pin, unpin
from trainer.contract.run_directory import RunDirectory

router = APIRouter(prefix="/jobs", tags=["checkpoints"], responses=INVALID)

Step = Annotated[int, InPath(ge=0, le=MAX_INTEGER, description="Steps after which it was written.")]
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job, or no such checkpoint of it."},
    503: {"model": Problem, "description": "The disk of the run root cannot be used."},
}
_CHANGED: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    409: {"model": Problem, "description": "The checkpoint is gone, or it is needed."},
    503: {
        "model": Problem,
        "description": "This control plane stands by; names the leader. Or the disk of the run "
        "root cannot be used.",
    },
}


@router.get("/{job_id}/checkpoints", responses=_UNKNOWN)
def list_checkpoints(plane: Plane, job_id: SeenJobId) -> CheckpointList:
    """List the checkpoints that are there, the oldest first, and why each is kept."""
    run = _run(plane, job_id)
    return CheckpointList(checkpoints=_views(plane, run, _kept(plane, plane.store.job(job_id))))


@router.get(
    "/{job_id}/checkpoints/{step}/download",
    response_class=Response,
    responses={
        **_CHANGED,
        **RANGED,
        200: {
            "description": "A tar of one folder: checkpoint.json, model.safetensors and "
            "velocity.safetensors. The same bytes each time, so that ranges may be asked for.",
            "content": {"application/x-tar": {}},
        },
    },
)
def download_checkpoint(request: Request, plane: Plane, job_id: SeenJobId, step: Step) -> Response:
    """Download a checkpoint. One that is deleted meanwhile is sent to its end."""
    job = plane.store.job(job_id)
    run = _run(plane, job_id)
    folder = _find(plane, job, _kept(plane, job), step).checkpoint.folder
    with reading(run):
        try:
            tar = CheckpointTar(run, folder.relative_to(run).as_posix())
        except NoSuchFileError as error:
            raise _gone(job, step) from error
    name = f"{job.id}-{folder.name}.tar"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return RangedResponse(tar, request, media_type="application/x-tar", headers=headers)


@router.post("/{job_id}/checkpoints/{step}/pin", responses=_CHANGED)
def pin_checkpoint(plane: Leader, caller: Submitter, job_id: OwnJobId, step: Step) -> Checkpoint:
    """Keep a checkpoint until it is unpinned, whatever its job writes meanwhile."""
    return _mark(plane, caller, job_id, step, pinned=True)


@router.delete("/{job_id}/checkpoints/{step}/pin", responses=_CHANGED)
def unpin_checkpoint(plane: Leader, caller: Submitter, job_id: OwnJobId, step: Step) -> Checkpoint:
    """Let a checkpoint go again, as one that was never pinned."""
    return _mark(plane, caller, job_id, step, pinned=False)


@router.delete("/{job_id}/checkpoints/{step}", status_code=204, responses=_CHANGED)
def delete_checkpoint(plane: Leader, caller: Submitter, job_id: OwnJobId, step: Step) -> None:
    """Delete a checkpoint; not one that is pinned, nor one that a job that lives goes on from.

    Jobs that began with it, or evaluate it, hold its weights themselves.
    """
    job = plane.store.job(job_id)
    run = _run(plane, job_id)
    kept = _kept(plane, job)
    folder = _find(plane, job, kept, step).checkpoint.folder
    with reading(run):
        problem = why_not_deleted(kept, step, has_ended=job.is_terminal)
    if problem is not None:
        raise _needed(job, step, problem)
    _note(plane, caller, Action.DELETE_CHECKPOINT, job, step)
    with reading(run):
        # This process may have slept since it looked.
        plane.store.check_fence()
        # What an earlier deletion left stands in the way of this one.
        clear_discarded(RunDirectory(run))
        if not discard(folder):
            if folder.exists():
                raise _needed(job, step, "it is pinned; unpin it first")
            raise _gone(job, step)


def _mark(
    plane: ControlPlane, caller: Caller, job_id: str, step: int, *, pinned: bool
) -> Checkpoint:
    job = plane.store.job(job_id)
    run = _run(plane, job_id)
    folder = _find(plane, job, _kept(plane, job), step).checkpoint.folder
    _note(plane, caller, Action.PIN if pinned else Action.UNPIN, job, step)
    with reading(run):
        # This process may have slept since it looked.
        plane.store.check_fence()
        is_there = pin(folder) if pinned else unpin(folder)
    found = checkpoint_of(_kept(plane, job), step) if is_there else None
    if found is None:
        raise _gone(job, step)
    return _views(plane, run, [found])[0]


def _kept(plane: ControlPlane, job: JobRecord) -> list[KeptCheckpoint]:
    root = plane.settings.run_root.resolve()
    with reading(root / job.id):
        return kept_checkpoints(job, plane.store.attempts(job.id), root, plane.store.live_jobs)


def _find(
    plane: ControlPlane, job: JobRecord, kept: list[KeptCheckpoint], step: int
) -> KeptCheckpoint:
    found = checkpoint_of(kept, step)
    if found is not None:
        return found
    if any(one.step == step for one in plane.store.checkpoints(job.id)):
        raise _gone(job, step)
    steps = ", ".join(str(one.step) for one in kept) or "none"
    raise HTTPException(
        404, f"job {job.id} has no checkpoint after step {step}; those that are there: {steps}"
    )


def _views(plane: ControlPlane, run: Path, kept: list[KeptCheckpoint]) -> tuple[Checkpoint, ...]:
    places = {(one.checkpoint.manifest.attempt, one.step) for one in kept}
    losses = plane.store.read(partial(losses_before, job_id=run.name, places=places))
    return tuple(
        checkpoint_view(one, run, losses[one.checkpoint.manifest.attempt, one.step]) for one in kept
    )


def _run(plane: ControlPlane, job_id: str) -> Path:
    return plane.settings.run_root.resolve() / job_id


def _note(plane: ControlPlane, caller: Caller, action: Action, job: JobRecord, step: int) -> None:
    """Write down what is about to be done, so that nothing is done that the log misses.

    What then cannot be done, as on a disk that fails, is in the log all the same.
    """
    plane.store.write(
        lambda connection: note_audit(connection, caller, action, job.id, now_utc(), step=step)
    )


def _gone(job: JobRecord, step: int) -> RefusedRequestError:
    return RefusedRequestError(
        ProblemType.CHECKPOINT_GONE,
        f"job {job.id} has deleted its checkpoint after step {step}, or it is damaged; list those "
        "that are there, and pin what is to stay",
    )


def _needed(job: JobRecord, step: int, why: str) -> RefusedRequestError:
    return RefusedRequestError(
        ProblemType.CHECKPOINT_IN_USE,
        f"the checkpoint of job {job.id} after step {step} is not deleted: {why}",
    )
