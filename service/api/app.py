"""The ASGI application over one control plane."""

from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.access.disk import DiskMeter
from service.api import (
    artifacts,
    attempts,
    audit,
    checkpoints,
    cluster,
    deletion,
    drain,
    editing,
    history,
    jobs,
    logs,
    operations,
    quotas,
    reports,
    run_files,
    streams,
    submit,
    tokens,
    webhooks,
    wishes,
)
from service.api.access import AccessMiddleware, add_access_handlers
from service.api.bodies import ValueLimitMiddleware
from service.api.description import complete
from service.api.errors import MAX_BODY_BYTES, PlainErrors, add_error_handlers
from service.api.known_reports import KnownReports
from service.api.unidentified import Unidentified
from service.control_plane import ControlPlane
from service.metrics import MetricsMiddleware
from service.run_files.room import RoomMeter
from service.settings import Settings


def create_app(plane: ControlPlane) -> FastAPI:
    """Put the routes together. Neither starts nor stops the control plane."""
    app = _App(
        title="AlexNet training service",
        version=version("alexnet-training-service"),
        description="Trains the two-tower network of Krizhevsky, Sutskever and Hinton (2012).",
    )
    app.state.plane = plane
    app.state.stream_slots = streams.stream_slots(plane.settings)
    app.state.download_slots = run_files.download_slots(plane.settings)
    app.state.is_draining = operations.drain_reader(plane)
    app.state.disk_meter = DiskMeter(plane.settings.run_root)
    app.state.room_meter = RoomMeter(plane.settings.run_root)
    # Before all others.
    app.router.routes.append(KnownReports(plane, others=app.router))
    app.router.routes.append(Unidentified())
    for module in (
        submit,
        jobs,
        wishes,
        editing,
        deletion,
        streams,
        history,
        logs,
        checkpoints,
        artifacts,
        reports,
        attempts,
        tokens,
        quotas,
        webhooks,
        audit,
        drain,
        cluster,
        operations,
    ):
        app.include_router(module.router)
    add_error_handlers(app)
    add_access_handlers(app)
    webhooks.add_webhook_handlers(app)
    app.add_middleware(ValueLimitMiddleware)
    app.add_middleware(AccessMiddleware, plane=plane)
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=_hosts(plane.settings), www_redirect=False
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    # Around the two that refuse in plain text; of all, the last that is added sees a request first.
    app.add_middleware(PlainErrors)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=[*plane.settings.trusted_proxies])
    app.add_middleware(MetricsMiddleware)
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def _hosts(settings: Settings) -> list[str]:
    # Attempts come by the advertised name; it is always answered.
    advertised = urlsplit(settings.advertised_url).hostname
    if advertised is not None and ":" in advertised:
        advertised = f"[{advertised}]"
    return sorted({*settings.allowed_hosts, *([advertised] if advertised else [])})
