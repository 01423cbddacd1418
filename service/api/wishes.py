"""/jobs/{id}/cancel, pause, resume: what the owner wants is written down; the reconciler acts."""

from typing import Any

from fastapi import APIRouter

from service.access.caller import Caller
from service.api.dependencies import INVALID, Leader, OwnJobId, Viewer
from service.api.present import job_view
from service.problems import Problem
from service.views import Job
from trainer.contract.status import Desired

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job."},
    409: {"model": Problem, "description": "The job is past that."},
    503: {"model": Problem, "description": "This control plane stands by; names the leader."},
}


@router.post("/{job_id}/cancel", status_code=202, responses=_PROBLEMS)
def cancel_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> Job:
    """End the job; its attempt stops at the next step. Asking twice is asking once."""
    return _ask(plane, caller, job_id, Desired.CANCEL)


@router.post("/{job_id}/pause", status_code=202, responses=_PROBLEMS)
def pause_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> Job:
    """Checkpoint at the next step and give the devices back."""
    return _ask(plane, caller, job_id, Desired.PAUSE)


@router.post("/{job_id}/resume", status_code=202, responses=_PROBLEMS)
def resume_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> Job:
    """Queue a paused job again; it goes on from its last checkpoint."""
    return _ask(plane, caller, job_id, Desired.RUN)


def _ask(plane: Leader, caller: Caller, job_id: str, desired: Desired) -> Job:
    job = plane.store.ask(job_id, desired, by=caller)
    plane.wake()
    return job_view(job, plane.settings.run_root)
