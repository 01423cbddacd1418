"""Whoever is not known: refused before anything of a body is read."""

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


class Unidentified(BaseRoute):
    """A route to be asked before all others, of whatever path: none is told of without a token.

    FastAPI reads a body, and parses it, before it asks a dependency who sent it. Whatever needs no
    token, `PUBLIC_PATHS` and reports of attempts, the middleware of `api.access` identifies nobody
    for. Pages tell it by leading to one that asks for a token; nothing of a body is read there.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether the middleware put there why it is not known who asks."""
        is_one = isinstance(scope.get("state", {}).get("identity"), Exception)
        is_one = is_one and not f"{scope['path']}/".startswith("/ui/")
        return (Match.FULL if is_one else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise that, where handlers answer it."""
        raise scope["state"]["identity"]
