"""/jobs: submit, list, look, ask."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import StringConstraints

from service.api.dependencies import INVALID, MAX_INTEGER, JobId, Leader, Plane
from service.api.present import job_detail, job_view, kept_checkpoints
from service.jobs.records import JobRecord, UnreadableJob
from service.problems import Problem
from service.reconciling.reconciler import now_utc
from service.submission.admission import admit_request
from service.submission.checkpoint_finder import CheckpointFinder
from service.submission.held_checkpoints import holding
from service.views import CheckpointList, Job, JobDetail, JobPage
from trainer.contract.confinement import path_roots
from trainer.contract.presets import PRESETS
from trainer.contract.run_directory import RunDirectory
from trainer.contract.status import Desired, Status

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

# A label's key never has an equals sign: the first ends it.
LabelFilter = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}=", max_length=144)
]

_EXAMPLES: dict[str, Any] = {
    "small": {
        "summary": "A quarter-width network that learns in minutes on two cores",
        "value": {
            "preset": "small",
            "name": "first light",
            "data": {
                "train": "/data/fashion-mnist/train/manifest.json",
                "validation": "/data/fashion-mnist/validation/manifest.json",
            },
        },
    },
    "paper": {
        "summary": "The paper's network and recipe on four pairs of GPUs",
        "value": {
            "name": "paper",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "scale": {"replicas": 4, "accelerator": "gpu"},
        },
    },
    "large_batch": {
        "summary": "The paper's network on many replicas, 128 images each",
        "value": {
            "preset": "large_batch",
            "name": "large batch",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "scale": {"replicas": 8, "accelerator": "gpu"},
        },
    },
    "ensemble": {
        "summary": "The validation error of two trained networks together, by ten views",
        "value": {
            "kind": "evaluate",
            "name": "two networks",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "evaluation": {"checkpoints": ["job:0123456789ab", "job:ba9876543210@900000"]},
        },
    },
}
_REQUEST_SCHEMA = {
    "title": "JobRequest",
    "description": "A JobSpec; with `preset`, only what differs from the preset.",
    "type": "object",
    "required": ["name", "data"],
    "properties": {"preset": {"type": "string", "enum": list(PRESETS)}},
    "anyOf": [{"$ref": "#/components/schemas/JobSpec"}, {"required": ["preset"]}],
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job."},
    409: {"model": Problem, "description": "The job is past that."},
    503: {"model": Problem, "description": "This control plane stands by; names the leader."},
}


@router.post(
    "",
    status_code=201,
    responses={
        413: {"model": Problem, "description": "More than 1 MiB."},
        503: {
            "model": Problem,
            "description": "This control plane stands by; names the leader. Or the disk of the "
            "run root cannot be used, or too many requests wait for object stores.",
        },
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _REQUEST_SCHEMA, "examples": _EXAMPLES}},
        }
    },
)
def submit_job(
    plane: Leader, response: Response, request: Annotated[dict[str, Any], Body()]
) -> Job:
    """Accept a job. It is stored when this answers, and will reach a final status."""
    settings = plane.settings
    finder = CheckpointFinder(plane.store, settings.run_root, path_roots(settings.data_roots))
    spec = admit_request(request, settings.data_roots, finder)
    job_id = secrets.token_hex(6)
    with holding(spec, RunDirectory(settings.run_root.resolve() / job_id)) as held:
        job = plane.store.submit(job_id, held, now_utc())
    plane.wake()
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_view(job, settings.run_root)


@router.get("")
def list_jobs(
    plane: Plane,
    status: Annotated[Status | None, Query(description="Only jobs of this status.")] = None,
    label: Annotated[
        tuple[LabelFilter, ...],
        Query(description="KEY=VALUE: only jobs with this label; of several, with all."),
    ] = (),
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="`next_cursor` of the page before.")
    ] = None,
) -> JobPage:
    """List jobs, the newest first."""
    labels = [(key, value) for key, _, value in (one.partition("=") for one in label)]
    found = plane.store.jobs(status=status, labels=labels, before_seq=cursor, limit=limit + 1)
    page = found[:limit]
    return JobPage(
        jobs=tuple(
            job_view(job, plane.settings.run_root) for job in page if isinstance(job, JobRecord)
        ),
        unreadable=tuple(job.id for job in page if isinstance(job, UnreadableJob)),
        next_cursor=str(page[-1].seq) if len(found) > limit else None,
    )


@router.get("/{job_id}", responses={404: _PROBLEMS[404]})
def get_job(plane: Plane, job_id: JobId) -> JobDetail:
    """Look at one job and its attempts."""
    job = plane.store.job(job_id)
    return job_detail(job, plane.store.attempts(job_id), plane.settings.run_root)


@router.get("/{job_id}/checkpoints", responses={404: _PROBLEMS[404]})
def list_checkpoints(plane: Plane, job_id: JobId) -> CheckpointList:
    """List the checkpoints that were kept, the oldest first."""
    job = plane.store.job(job_id)
    run = plane.settings.run_root / job.id
    return CheckpointList(checkpoints=kept_checkpoints(plane.store.checkpoints(job_id), run))


@router.post("/{job_id}/cancel", status_code=202, responses=_PROBLEMS)
def cancel_job(plane: Leader, job_id: JobId) -> Job:
    """End the job; its attempt stops at the next step. Asking twice is asking once."""
    return _ask(plane, job_id, Desired.CANCEL)


@router.post("/{job_id}/pause", status_code=202, responses=_PROBLEMS)
def pause_job(plane: Leader, job_id: JobId) -> Job:
    """Checkpoint at the next step and give the devices back."""
    return _ask(plane, job_id, Desired.PAUSE)


@router.post("/{job_id}/resume", status_code=202, responses=_PROBLEMS)
def resume_job(plane: Leader, job_id: JobId) -> Job:
    """Queue a paused job again; it goes on from its last checkpoint."""
    return _ask(plane, job_id, Desired.RUN)


def _ask(plane: Leader, job_id: str, desired: Desired) -> Job:
    job = plane.store.ask(job_id, desired)
    plane.wake()
    return job_view(job, plane.settings.run_root)
