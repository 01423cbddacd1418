"""POST /jobs: what is accepted becomes a job, once for each Idempotency-Key; and plans."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Response

from service.api.dependencies import INVALID, Leader, Plane, SeenJobId, Submitter
from service.api.present import job_view
from service.api.quotas import Meter
from service.api.request_examples import CHANGES, SUBMISSIONS
from service.control_plane import ControlPlane
from service.problems import Problem
from service.steady_clock import now_utc
from service.submission.desk import Desk
from service.views.jobs import Job
from service.views.plans import PlannedJob
from trainer.contract.presets import PRESETS

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

REPLAY_HEADER = "Idempotent-Replay"
# Visible ASCII; in quotes, as the draft of the header has it, or without.
_KEY = r"^(\"[!#-\[\]-~]{1,128}\"|[!#-\[\]-~]{1,128})$"
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=_KEY,
        description="Up to 128 visible ASCII characters of the client's, new for each job: the "
        "same request sent again with it is answered with the same job, and makes no other.",
    ),
]
_REQUEST_SCHEMA = {
    "title": "JobRequest",
    "description": "A JobSpec; with `preset`, only what differs from the preset; with `clone`, "
    "only what differs from an earlier job's spec, null for a field's default; with `private`, a "
    "job that others than its owner and admins are not told of.",
    "type": "object",
    "properties": {
        "preset": {"type": "string", "enum": list(PRESETS)},
        "clone": {"type": "string", "description": "Id of the earlier job."},
        "private": {"type": "boolean", "default": False},
    },
    "anyOf": [
        {"$ref": "#/components/schemas/JobSpec"},
        {"required": ["preset", "name", "data"]},
        {"required": ["clone"]},
    ],
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _REQUEST_SCHEMA, "examples": SUBMISSIONS}},
    }
}
_CHANGES_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "examples": CHANGES}},
    }
}
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "More than 1 MiB."},
    503: {
        "model": Problem,
        "description": "This control plane stands by; names the leader. Or the disk of the run "
        "root cannot be used, or too many requests wait for object stores.",
    },
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "Accepted; or, with an Idempotency-Key, what was accepted before.",
        "headers": {
            "Location": {"description": "Of the job.", "schema": {"type": "string"}},
            REPLAY_HEADER: {
                "description": "`true` where the job was made by an earlier request.",
                "schema": {"type": "string"},
            },
        },
    },
    403: {"model": Problem, "description": "The token or a quota does not allow it."},
    409: {"model": Problem, "description": "The first request of this key is in work."},
    **_UNAVAILABLE,
}


def _desk(plane: Plane, caller: Submitter, meter: Meter) -> Desk:
    return Desk(
        plane.store,
        caller=caller,
        run_root=plane.settings.run_root,
        meter=meter,
        data_roots=plane.settings.data_roots,
        cluster=plane.cluster,
        policy=plane.settings.queue_policy,
        keys=plane.keys_in_work,
        clock=now_utc,
    )


CallersDesk = Annotated[Desk, Depends(_desk)]


@router.post("", status_code=201, responses=_ACCEPTED, openapi_extra=_BODY)
def submit_job(
    plane: Leader,
    desk: CallersDesk,
    response: Response,
    request: Annotated[dict[str, Any], Body()],
    *,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Accept a job. It is stored when this answers, and will reach a final status."""
    return _submit(plane, desk, response, request, idempotency_key)


@router.post("/plan", responses=_UNAVAILABLE, openapi_extra=_BODY)
def plan_job(request: Annotated[dict[str, Any], Body()], desk: CallersDesk) -> PlannedJob:
    """Say what would become of a request: steps, memory, time, shards, start. Nothing is stored."""
    return desk.plan(request)


@router.post(
    "/{job_id}/clone",
    status_code=201,
    responses=_ACCEPTED | {404: {"model": Problem, "description": "No such job."}},
    openapi_extra=_CHANGES_BODY,
)
def clone_job(
    plane: Leader,
    desk: CallersDesk,
    job_id: SeenJobId,
    response: Response,
    changes: Annotated[dict[str, Any], Body()],
    *,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Submit an earlier job's spec again, with changes: a merge patch (RFC 7396) over it."""
    request = changes | {"clone": job_id}
    return _submit(plane, desk, response, request, idempotency_key)


def _submit(
    plane: ControlPlane,
    desk: Desk,
    response: Response,
    request: dict[str, Any],
    key: str | None,
) -> Job:
    accepted = desk.submit(
        request,
        key=None if key is None else key.strip('"'),
        keep_for=timedelta(hours=plane.settings.idempotency_key_hours),
    )
    plane.wake()
    response.headers["Location"] = f"/jobs/{accepted.job.id}"
    if accepted.is_replay:
        response.headers[REPLAY_HEADER] = "true"
    return job_view(accepted.job, plane.settings.run_root)
