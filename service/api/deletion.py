"""DELETE /jobs/{id}: a job that has ended goes, and its run directory."""

from fastapi import APIRouter

from service.api.dependencies import INVALID, Leader, OwnJobId, Viewer
from service.problems import Problem

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)


@router.delete(
    "/{job_id}",
    status_code=204,
    responses={
        404: {"model": Problem, "description": "No such job."},
        409: {"model": Problem, "description": "It has not ended; cancel it first."},
        503: {
            "model": Problem,
            "description": "This control plane stands by; names the leader. Or the disk of the "
            "run root cannot be used.",
        },
    },
)
def delete_job(plane: Leader, caller: Viewer, job_id: OwnJobId) -> None:
    """Delete a job that has ended, with its checkpoints and all else in its run directory.

    What other jobs began with they hold themselves.
    """
    plane.deletions.delete(job_id, caller)
