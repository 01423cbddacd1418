"""/ui/jobs/{id}/pause, resume, cancel: what the buttons of a job ask for."""

from typing import Annotated

from fastapi import Depends, Path, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import Leader, OwnJobId, Viewer
from service.ui.forms import read_form
from service.ui.pages import local_path
from service.ui.pages import router as page_router
from trainer.contract.status import Desired

router = page_router()

_WISHES = {"pause": Desired.PAUSE, "resume": Desired.RUN, "cancel": Desired.CANCEL}


def _wish(wish: Annotated[str, Path(pattern="^(pause|resume|cancel)$")]) -> Desired:
    return _WISHES[wish]


@router.post("/jobs/{job_id}/{wish}")
async def ask(
    request: Request,
    plane: Leader,
    caller: Viewer,
    job_id: OwnJobId,
    desired: Annotated[Desired, Depends(_wish)],
) -> Response:
    """Write down what the owner wants, and lead back."""
    form = await read_form(request)
    await run_in_threadpool(plane.store.ask, job_id, desired, by=caller)
    plane.wake()
    return RedirectResponse(local_path(form.get("back", "")), 303)
