"""A service without what refuses attacks: what trials must notice."""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.caller import EVERYONE, Caller
from service.access.rate_limits import RateLimiter
from service.api import access, app
from service.submission import admission, desk
from service.terminal.cli import main
from trainer.contract.spec import JobSpec


class Through:
    """Middleware that lets everything pass."""

    def __init__(self, app: ASGIApp, **_: object) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _anyone(*_: object, **__: object) -> Caller:
    return EVERYONE


def _at_once(*_: object) -> float:
    return 0.0


def _anywhere(location: str, *_: object, **__: object) -> str:
    return location


def _all_alike(_request: Mapping[str, Any]) -> str:
    return ""


if __name__ == "__main__":
    access.identify = _anyone  # type: ignore[attr-defined]
    RateLimiter.take = _at_once  # type: ignore[method-assign, assignment]
    app.TrustedHostMiddleware = Through  # type: ignore[attr-defined, assignment]
    app.ValueLimitMiddleware = Through  # type: ignore[attr-defined, assignment]
    app.RequestBodyLimitMiddleware = Through  # type: ignore[attr-defined, assignment]
    admission.confined_location = _anywhere  # type: ignore[attr-defined]
    desk._digest = _all_alike  # type: ignore[assignment]
    JobSpec.model_config["extra"] = "ignore"
    JobSpec.model_rebuild(force=True)
    main()
