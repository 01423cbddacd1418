"""What is no page: said on one."""

from fastapi import Request, Response

from service.api.dependencies import Viewer
from service.problems import Problem, ProblemType
from service.ui.pages import router as page_router
from service.ui.rendering import page

router = page_router()


@router.get("/{path:path}")
def nowhere(request: Request, caller: Viewer) -> Response:
    """Say that there is no such page."""
    kind = ProblemType.NOT_FOUND
    problem = Problem(
        type=kind, title=kind.summary, status=404, detail="there is no such page; look at the jobs"
    )
    return page(request, caller, "problem.html", status=404, problem=problem)
