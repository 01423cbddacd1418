"""/jobs/{id}/report: what came of a job, as JSON or for people."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Response

from service.api.dependencies import INVALID, Plane, SeenJobId
from service.api.present import read_report
from service.jobs.records import JobRecord
from service.problems import Problem
from trainer.contract.report import Report
from trainer.contract.report_text import to_markdown
from trainer.contract.status import Status

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=INVALID)

_MARKDOWN = "text/markdown"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "As JSON (the default), or Markdown.", "content": {_MARKDOWN: {}}},
    404: {"model": Problem, "description": "No such job, or no report of it yet."},
}


@router.get("/{job_id}/report", response_model=Report, responses=_RESPONSES)
def get_report(
    plane: Plane, job_id: SeenJobId, *, accept: Annotated[str, Header()] = "application/json"
) -> Any:
    """Read the report that the attempt which succeeded wrote; with the published results beside."""
    job = plane.store.job(job_id)
    # An attempt that was lost after it had written one, say at its very end, is not the last word.
    is_over = job.status is Status.SUCCEEDED
    report = read_report(plane.settings.run_root / job.id) if is_over else None
    if report is None:
        raise HTTPException(404, _why_not(job))
    if _MARKDOWN in accept:
        return Response(to_markdown(report), media_type=_MARKDOWN)
    return report


def _why_not(job: JobRecord) -> str:
    if job.status is Status.SUCCEEDED:
        return (
            f"the report of job {job.id} is not in its run directory, or cannot be read, which "
            "the service's log then tells"
        )
    return f"job {job.id} has no report: it is {job.status}, and a job writes it when it succeeds"
