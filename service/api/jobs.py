"""/jobs: list and look; `submit` and `wishes` hold what changes them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from service.access.caller import Caller
from service.api.dependencies import INVALID, MAX_INTEGER, JobId, Plane, Viewer
from service.api.present import as_json, detail_fields, job_fields
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord, UnreadableJob
from service.problems import Problem
from service.store.detail import read_detail
from service.store.ownership import seen_by
from service.views.jobs import JobDetail, JobPage
from trainer.contract.status import Status

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

# A label's key never has an equals sign: the first ends it.
LabelFilter = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}=", max_length=144)
]
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such job."}}


@router.get("", response_model=JobPage)
def list_jobs(
    plane: Plane,
    caller: Viewer,
    *,
    status: Annotated[Status | None, Query(description="Only jobs of this status.")] = None,
    label: Annotated[
        tuple[LabelFilter, ...],
        # Each is a join.
        Query(
            max_length=16,
            description="KEY=VALUE: only jobs with this label; of several, with all.",
        ),
    ] = (),
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="`next_cursor` of the page before.")
    ] = None,
) -> Response:
    """List jobs, the newest first."""
    labels = [
        (key, value) for key, _, value in (one.partition("=") for one in dict.fromkeys(label))
    ]
    found = plane.store.jobs(
        status=status, labels=labels, seen_by=caller, before_seq=cursor, limit=limit + 1
    )
    page = found[:limit]
    told = _as_told(plane, caller, [job for job in page if isinstance(job, JobRecord)])
    return as_json(
        {
            "jobs": [job_fields(job, plane.settings.run_root) for job in told],
            "unreadable": [job.id for job in page if isinstance(job, UnreadableJob)],
            "next_cursor": str(page[-1].seq) if len(found) > limit else None,
        }
    )


@router.get("/{job_id}", response_model=JobDetail, responses=_UNKNOWN)
def get_job(plane: Plane, caller: Viewer, job_id: JobId) -> Response:
    """Look at one job and its attempts."""
    # Assumed to be asked for most.
    found = plane.store.read_at_once(partial(read_detail, job_id=job_id, seen_by=caller))
    (job,) = _as_told(plane, caller, [found.job])
    return as_json(detail_fields(found._replace(job=job), plane.settings.run_root))


def _as_told(plane: ControlPlane, caller: Caller, jobs: Sequence[JobRecord]) -> list[JobRecord]:
    """Return jobs that a caller sees, without the source of a clone that they do not see.

    Whoever submitted the clone has named its source, and is told of it once it is deleted too.
    """
    sources = {job.cloned_from for job in jobs if job.cloned_from is not None}
    if not sources or caller.is_admin:
        return list(jobs)
    seen = plane.store.read_at_once(lambda connection: seen_by(connection, caller, sources))
    return [
        job
        if job.cloned_from in seen or caller.may_see(replace(job.ownership, private=True))
        else replace(job, cloned_from=None)
        for job in jobs
    ]
