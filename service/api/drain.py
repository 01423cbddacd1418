"""/drain, /undrain: no attempt begins, for an upgrade."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from service.api.dependencies import INVALID, Admin, Leader, Plane, Viewer
from service.steady_clock import now_utc
from service.store.switches import begin_drain, end_drain, num_active, read_drain
from service.views.access import DrainState

router = APIRouter(tags=["operations"], responses=INVALID)


@router.get("/drain")
def get_drain(plane: Plane, _caller: Viewer) -> DrainState:
    """Say whether the service drains, and how many jobs still hold devices."""
    return plane.store.read(_state)


@router.post("/drain", status_code=202)
def post_drain(
    plane: Leader,
    caller: Admin,
    *,
    pause: Annotated[
        bool, Query(description="Pause what runs, at its next step, until the drain ends.")
    ] = False,
) -> DrainState:
    """Begin no attempt until the drain ends, though the service is stopped and started.

    Jobs may be submitted, and queue.
    """
    plane.store.write(lambda connection: begin_drain(connection, caller, now_utc(), pause=pause))
    plane.wake()
    return plane.store.read(_state)


@router.post("/undrain", status_code=202)
def post_undrain(plane: Leader, caller: Admin) -> DrainState:
    """Begin attempts again, of what was paused for the drain too."""
    plane.store.write(lambda connection: end_drain(connection, caller, now_utc()))
    plane.wake()
    return plane.store.read(_state)


def _state(connection: Connection) -> DrainState:
    drain = read_drain(connection)
    return DrainState(
        draining=drain is not None,
        since=None if drain is None else drain.since,
        pause=drain is not None and drain.pause,
        active_jobs=num_active(connection),
    )
