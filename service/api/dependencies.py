"""What routes are given."""

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from service.control_plane import ControlPlane
from service.problems import Problem

MAX_INTEGER = 2**63 - 1
# Said of every route that reads anything: else FastAPI describes errors as it would answer them.
INVALID: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "Names each field at fault and its mend."}
}


class StandbyError(RuntimeError):
    """A write came to a control plane that may not write."""

    def __init__(self, leader: str) -> None:
        super().__init__(f"this control plane stands by; send it to the leader: {leader}")


class UnknownTokenError(RuntimeError):
    """Whoever reports as an attempt has not its token."""

    def __init__(self) -> None:
        super().__init__("this is not the token of that attempt")


async def _plane(request: Request) -> ControlPlane:
    plane = request.app.state.plane
    assert isinstance(plane, ControlPlane)
    return plane


Plane = Annotated[ControlPlane, Depends(_plane)]


def _leading(plane: Plane) -> ControlPlane:
    if not plane.is_leader:
        raise StandbyError(plane.leadership.holder())
    return plane


Leader = Annotated[ControlPlane, Depends(_leading)]
JobId = Annotated[str, Path(max_length=64, description="As `POST /jobs` gave it.")]
