"""The API and the page, as one ASGI application."""

from fastapi import FastAPI

from service.api.app import create_app
from service.control_plane import ControlPlane
from service.ui.routes import add_pages


def create_application(plane: ControlPlane) -> FastAPI:
    """Put both together. Neither starts nor stops the control plane."""
    app = create_app(plane)
    add_pages(app, plane)
    return app
