"""/jobs/{id}/artifacts: the files of the run directory, to read."""

import mimetypes
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.api.dependencies import INVALID, Plane, SeenJobId
from service.api.run_files import RANGED, RangedResponse, reading
from service.problems import Problem
from service.run_files.confined import list_files
from service.run_files.content import FileContent
from service.views.files import Artifact, ArtifactList

router = APIRouter(prefix="/jobs", tags=["files"], responses=INVALID)

MAX_LISTED = 10_000
# Shown as text wherever they are opened, and not offered to programs that know better.
_TEXTS = {".jsonl": "text/plain", ".log": "text/plain", ".md": "text/markdown"}


@router.get(
    "/{job_id}/artifacts",
    responses={
        404: {"model": Problem, "description": "No such job."},
        503: {"model": Problem, "description": "The disk of the run root cannot be used."},
    },
)
def list_artifacts(plane: Plane, job_id: SeenJobId) -> ArtifactList:
    """List the files of the job's run directory, except what holds tokens or is being written."""
    run = plane.settings.run_root / job_id
    with reading(run):
        found = list(islice(list_files(run), MAX_LISTED + 1))
    return ArtifactList(
        artifacts=tuple(
            Artifact(path=one.path, size_bytes=one.size_bytes, modified_at=one.modified_at)
            for one in found[:MAX_LISTED]
        ),
        truncated=len(found) > MAX_LISTED,
    )


@router.get(
    "/{job_id}/artifacts/{path:path}",
    response_class=Response,
    responses={
        **RANGED,
        200: {
            "description": "The file; of what type is guessed from its name.",
            "content": {"*/*": {}},
        },
        404: {"model": Problem, "description": "No such job, or no such file of it."},
    },
)
def get_artifact(
    request: Request,
    plane: Plane,
    job_id: SeenJobId,
    path: Annotated[str, Path(max_length=4096, description="As it is listed.")],
) -> Response:
    """Read a file of the run directory; `Range` and `If-Range` are understood."""
    run = plane.settings.run_root / job_id
    with reading(run):
        content = FileContent(run, path)
    return RangedResponse(content, request, media_type=_media_type(path))


def _media_type(path: str) -> str:
    suffix = path[path.rfind(".") :] if "." in path else ""
    known = _TEXTS.get(suffix) or mimetypes.guess_type(path, strict=True)[0]
    return known or "application/octet-stream"
