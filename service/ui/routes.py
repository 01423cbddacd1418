"""The views, in the order in which their addresses are tried."""

from fastapi import FastAPI

from service.store.live import LiveJobs
from service.ui import asset_files, jobs, nowhere, sign_in, submit, wishes
from service.ui.sparks import Sparks


def add_pages(app: FastAPI) -> None:
    """Add every view to the application of the API."""
    app.state.sparks = Sparks()
    app.state.live_jobs = LiveJobs()
    for module in (asset_files, sign_in, jobs, submit, wishes, nowhere):
        app.include_router(module.router)
