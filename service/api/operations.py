"""For those who run the service: health, readiness, metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.dependencies import IS_PUBLIC, Plane, Viewer
from service.api.remembered import Remembered
from service.control_plane import ControlPlane
from service.metrics import exposition, note_room, reconciler_step_age
from service.store.switches import read_drain
from service.views.jobs import Readiness

router = APIRouter(tags=["operations"])

# So often the store is asked, however many ask whether the service is ready.
REMEMBER_S = 1.0


def drain_reader(plane: ControlPlane) -> Remembered[bool]:
    """Return what tells /readyz of a drain: whoever asks has neither a token nor a limit."""
    return Remembered(lambda: plane.store.read(read_drain) is not None, for_s=REMEMBER_S)


@router.get("/", include_in_schema=False, dependencies=[IS_PUBLIC])
def root() -> RedirectResponse:
    """Lead to the page."""
    return RedirectResponse("/ui/")


@router.get("/healthz", dependencies=[IS_PUBLIC])
async def healthz() -> dict[str, str]:
    """Say that the process answers; no thread is needed for it, however busy the store is."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "Not now."}},
    dependencies=[IS_PUBLIC],
)
async def readyz(request: Request, plane: Plane, response: Response) -> Readiness:
    """Say whether jobs that are posted here will run; of a drain, as of a second ago at most."""
    health, is_draining = plane.health(), False
    # One that stands by may not know the tables yet.
    if health.is_leader:
        is_draining = await request.app.state.is_draining.get()
        # Another may lead meanwhile.
        health = plane.health()
    if not health.is_ready:
        response.status_code = 503
    return Readiness(
        ready=health.is_ready,
        role="leader" if health.is_leader else "standby",
        leader=health.leader,
        draining=health.is_leader and is_draining,
        reconciler="stuck" if health.is_stuck else "at work",
        ray=health.ray,
    )


@router.get("/metrics", response_class=Response)
def metrics(request: Request, plane: Plane, caller: Viewer) -> Response:
    """For Prometheus; the HELP line of each series says what it is, and its unit."""
    note_room(request.app.state.room_meter.read())
    reconciler_step_age.set(plane.step_age_s())
    return Response(exposition(plane.store, caller), media_type=CONTENT_TYPE_LATEST)
