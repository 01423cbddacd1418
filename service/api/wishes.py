"""/jobs/{id}/cancel, pause, resume: what the owner wants is written down; the reconciler acts."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.access.caller import Caller
from service.api.dependencies import INVALID, Leader, OwnJobId, Viewer
from service.api.present import job_view
from service.jobs.resizing import ReplicasRefusedError
from service.problems import FieldError, Problem, SpecRefusedError
from service.views.jobs import Job
from trainer.contract.status import Desired

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job."},
    409: {"model": Problem, "description": "The job is past that."},
    503: {"model": Problem, "description": "This control plane stands by; names the leader."},
}


class Resume(BaseModel):
    """What is to be otherwise from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"replicas": 2}]})

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Copies in data parallel from now on; divides data.num_streams. Which samples "
        "a step trains does not change by it. None: as before.",
    )


@router.post("/{job_id}/cancel", status_code=202, responses=_PROBLEMS)
def cancel_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> Job:
    """End the job; its attempt stops at the next step. Asking twice is asking once."""
    return _ask(plane, caller, job_id, Desired.CANCEL)


@router.post("/{job_id}/pause", status_code=202, responses=_PROBLEMS)
def pause_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> Job:
    """Checkpoint at the next step and give the devices back."""
    return _ask(plane, caller, job_id, Desired.PAUSE)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    responses=_PROBLEMS
    | {422: {"model": Problem, "description": "The job cannot have so many replicas."}},
)
def resume_job(
    plane: Leader, caller: Viewer, job_id: OwnJobId, resume: Resume | None = None
) -> Job:
    """Queue a paused job again; it goes on from its last checkpoint, also with other replicas."""
    replicas = None if resume is None else resume.replicas
    try:
        return _ask(plane, caller, job_id, Desired.RUN, replicas=replicas)
    except ReplicasRefusedError as error:
        raise SpecRefusedError([FieldError(field="replicas", message=str(error))]) from error


def _ask(
    plane: Leader, caller: Caller, job_id: str, desired: Desired, *, replicas: int | None = None
) -> Job:
    job = plane.store.ask(job_id, desired, by=caller, replicas=replicas)
    plane.wake()
    return job_view(job, plane.settings.run_root)
