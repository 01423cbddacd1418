"""A control plane that asks for tokens, and clients of several roles."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from service.access.caller import EVERYONE, Role
from service.access.tokens import NewToken, issue_token
from service.control_plane import ControlPlane
from service.settings import Settings
from service.store.tokens import create_token
from tests.unit.service.conftest import free_port, now, serving
from tests.unit.service.databases import Databases
from tests.waiting import ANSWERED_WITHIN_S


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """One control plane with a client for each of those who have tokens."""

    plane: ControlPlane
    url: str
    admin: httpx.Client
    ann: httpx.Client
    """A submitter."""
    bob: httpx.Client
    """Another."""
    vic: httpx.Client
    """A viewer."""
    nobody: httpx.Client
    """Without a token."""


def add_token(
    plane: ControlPlane, owner: str, role: Role, *, expires_in: timedelta | None = None
) -> NewToken:
    record, token = issue_token(
        owner=owner, role=role, description="", expires_in=expires_in, now=now()
    )
    plane.store.write(lambda connection: create_token(connection, record, EVERYONE, now()))
    return token


def bearer(token: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def guarding(
    settings: Settings, databases: Databases, *, with_tokens: bool = True, **changes: Any
) -> Iterator[Guarded]:
    """Serve a control plane of its own store, beside the one of the settings.

    Without tokens all its clients are as `nobody`.
    """
    state = settings.state_dir / f"guarded-{free_port()}"
    changed = settings.model_copy(
        update={
            "state_dir": state,
            "store_url": databases.migrated(),
            "run_root": state / "runs",
            "port": free_port(),
        }
        | changes
    )
    changed = changed.model_copy(update={"advertised_url": f"http://127.0.0.1:{changed.port}"})
    plane = ControlPlane(changed, token=None)
    plane.try_to_lead()
    with ExitStack() as stack:
        stack.callback(plane.stop)
        url = stack.enter_context(serving(plane))

        def client(owner: str | None = None, role: Role = Role.SUBMITTER) -> httpx.Client:
            asked = with_tokens and owner is not None
            headers = bearer(add_token(plane, str(owner), role)) if asked else {}
            return stack.enter_context(
                httpx.Client(base_url=url, headers=headers, timeout=ANSWERED_WITHIN_S)
            )

        yield Guarded(
            plane=plane,
            url=url,
            admin=client("root", Role.ADMIN),
            ann=client("ann"),
            bob=client("bob"),
            vic=client("vic", Role.VIEWER),
            nobody=client(),
        )
