"""The pages, in the order in which their addresses are tried."""

from functools import partial

from fastapi import FastAPI

from service.control_plane import ControlPlane
from service.ui import asset_files, cluster, compare, data, jobs, nowhere, sign_in, submit, wishes
from service.ui.compare_shared import SharedCurves, read_curves
from service.ui.data_looks import Looks
from service.ui.job import checkpoints as job_checkpoints
from service.ui.job import page as job_page
from service.ui.job.shared import SharedJobs
from service.ui.live import LOOK_EVERY_S
from service.ui.recent import Recent
from service.ui.sparks import Sparks
from service.ui.told_gpus import ToldGpus


def add_pages(app: FastAPI, plane: ControlPlane) -> None:
    """Add every page to the application of the API."""
    app.state.sparks = Sparks()
    app.state.live_jobs = Recent(plane.store.live_jobs, for_s=LOOK_EVERY_S)
    app.state.shared_jobs = SharedJobs(plane)
    app.state.curves = SharedCurves(partial(read_curves, plane))
    app.state.told_gpus = ToldGpus()
    app.state.looks = Looks(plane.settings.state_dir / "looks")
    for module in (
        asset_files,
        sign_in,
        jobs,
        submit,
        compare,
        data,
        cluster,
        job_page,
        job_checkpoints,
        wishes,
        nowhere,
    ):
        app.include_router(module.router)
