"""PATCH /jobs/{id}: another priority, other labels."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.dependencies import INVALID, Leader, OwnJobId, Viewer
from service.api.present import job_view
from service.jobs.editing import Edit
from service.problems import Problem
from service.steady_clock import now_utc
from service.store.editing import edit_job
from service.views.jobs import Job
from trainer.contract.spec import LabelKey, LabelValue, Priority

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job."},
    409: {"model": Problem, "description": "It has ended, and has no turn any more."},
    503: {"model": Problem, "description": "This control plane stands by; names the leader."},
}


class JobChanges(BaseModel):
    """What is to be otherwise from now on: a merge patch (RFC 7396) of these fields."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"priority": 10, "labels": {"team": "vision", "old": None}}]
        },
    )

    priority: Priority | None = Field(
        default=None, description="Higher goes first; null: as it is. Of a job that has not ended."
    )
    labels: dict[LabelKey, LabelValue | None] = Field(
        default_factory=dict,
        max_length=64,
        description="null: without that label; those that are not named stay.",
    )


@router.patch("/{job_id}", responses=_PROBLEMS)
def edit_job_fields(plane: Leader, caller: Viewer, job_id: OwnJobId, changes: JobChanges) -> Job:
    """Change a job's priority, which counts at once, or its labels, also once it has ended."""
    edit = Edit(priority=changes.priority, labels=changes.labels)
    plane.store.write(lambda connection: edit_job(connection, job_id, edit, caller, now_utc()))
    plane.wake()
    return job_view(plane.store.job(job_id), plane.settings.run_root)
