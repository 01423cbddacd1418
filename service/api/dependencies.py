"""What routes are given."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer

from service.access.caller import Caller, Ownership, Role, check_change, check_role
from service.control_plane import ControlPlane
from service.problems import Problem
from service.store.ownership import seen_job

# What the store's columns hold of a number: PostgreSQL refuses to compare them with a greater one.
MAX_INTEGER = 2**31 - 1
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


def check_leads(plane: ControlPlane) -> None:
    """Raise StandbyError where this control plane may not write."""
    if not plane.is_leader:
        raise StandbyError(plane.leadership.holder())


async def _leading(plane: Plane) -> ControlPlane:
    check_leads(plane)
    return plane


Leader = Annotated[ControlPlane, Depends(_leading)]

# Who may call a route. Every route has one of these rules, which a test asserts: one that has no
# `caller` and names no job has it in `dependencies`.

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api-token",
    description="As `alexnet tokens create` printed it. Where there are no tokens, none is needed.",
)


@dataclass(frozen=True)
class RoleRule:
    """Lets in whose role covers this one. A dependency: gives the Caller.

    Raises ForbiddenError, and of pages what nobody could be identified by.
    """

    role: Role

    async def __call__(
        self, request: Request, _bearer: Annotated[object, Depends(_bearer)]
    ) -> Caller:
        """Return who asks."""
        # The middleware of `api.access` has put it there; `api.unidentified` has refused all else,
        # but for pages.
        identity = request.state.identity
        if isinstance(identity, Exception):
            raise identity
        assert isinstance(identity, Caller)
        check_role(identity, self.role)
        return identity


@dataclass(frozen=True)
class NoRule:
    """Lets in everyone. A dependency."""

    why: str

    async def __call__(self) -> None:
        """Pass."""


Viewer = Annotated[Caller, Depends(RoleRule(Role.VIEWER))]
Submitter = Annotated[Caller, Depends(RoleRule(Role.SUBMITTER))]
Admin = Annotated[Caller, Depends(RoleRule(Role.ADMIN))]
HAS_OWN_TOKENS = Depends(NoRule("attempts report with tokens of their own"))
IS_PUBLIC = Depends(NoRule("whoever watches over the process has no token"))

JobId = Annotated[str, Path(max_length=64, description="As `POST /jobs` gave it.")]


def _seen_job(plane: Plane, caller: Viewer, job_id: JobId) -> str:
    _visible(plane, caller, job_id)
    return job_id


def _own_job(plane: Plane, caller: Viewer, job_id: JobId) -> str:
    check_change(caller, job_id, _visible(plane, caller, job_id))
    return job_id


def _visible(plane: ControlPlane, caller: Caller, job_id: str) -> Ownership:
    return plane.store.read_at_once(lambda connection: seen_job(connection, caller, job_id))


# The id of a job that the caller is told of: others' private ones are not found.
SeenJobId = Annotated[str, Depends(_seen_job)]
# The id of a job that the caller may change.
OwnJobId = Annotated[str, Depends(_own_job)]
