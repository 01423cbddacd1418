"""POST /jobs: what is accepted becomes a job."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from service.api.dependencies import INVALID, Leader
from service.api.present import job_view
from service.api.quotas import DiskSubmitter
from service.problems import Problem
from service.reconciling.reconciler import now_utc
from service.submission.admission import admit_request
from service.submission.checkpoint_finder import CheckpointFinder
from service.submission.held_checkpoints import holding
from service.submission.privacy import split_private
from service.views import Job
from trainer.contract.confinement import path_roots
from trainer.contract.presets import PRESETS
from trainer.contract.run_directory import RunDirectory

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

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
    "description": "A JobSpec; with `preset`, only what differs from the preset; with `private`, "
    "a job that others than its owner and admins are not told of.",
    "type": "object",
    "required": ["name", "data"],
    "properties": {
        "preset": {"type": "string", "enum": list(PRESETS)},
        "private": {"type": "boolean", "default": False},
    },
    "anyOf": [{"$ref": "#/components/schemas/JobSpec"}, {"required": ["preset"]}],
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
    plane: Leader,
    caller: DiskSubmitter,
    response: Response,
    request: Annotated[dict[str, Any], Body()],
) -> Job:
    """Accept a job. It is stored when this answers, and will reach a final status."""
    settings = plane.settings
    roots = path_roots(settings.data_roots)
    finder = CheckpointFinder(plane.store, settings.run_root, roots, seen_by=caller)
    request, private = split_private(request)
    spec = admit_request(request, settings.data_roots, finder)
    job_id = secrets.token_hex(6)
    with holding(spec, RunDirectory(settings.run_root.resolve() / job_id)) as held:
        job = plane.store.submit(job_id, held, now_utc(), by=caller, private=private)
    plane.wake()
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_view(job, settings.run_root)
