"""Debian's chromium, one service with its own Ray, a job that trains and one that is over."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.acceptance.product import ControlPlane, run, worker_pids
from tests.bench.service.server import serving
from tests.browser.invented import Invented, inventing
from tests.browser.watch import Watch
from tests.integration.trainer.conftest import Shards, pack_few

_HERE = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, so that other runs leave it out."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.browser)
            # With the first of them a Ray and two jobs start.
            item.add_marker(pytest.mark.timeout(600))


@dataclass(frozen=True)
class Trained:
    """A service, and what it has trained."""

    control_plane: ControlPlane
    shards: Shards
    job_id: str
    """Of the job that trains as long as the tests take."""
    over_id: str
    """Of the job that is over."""

    @property
    def url(self) -> str:
        return self.control_plane.url

    def job_url(self, job_id: str) -> str:
        return f"{self.url}/ui/jobs/{job_id}"

    def request(self, name: str, **over: Any) -> dict[str, Any]:
        """Return the request for a job of an eighth of the width, in one thread."""
        return request_for(self.shards, name, **over)


def request_for(shards: Shards, name: str, **over: Any) -> dict[str, Any]:
    return {
        "preset": "small",
        "name": name,
        "labels": {"team": "vision", "purpose": "tests"},
        "data": {"train": str(shards.train), "validation": str(shards.validation)},
        "model": {"width": 0.125},
        "optim": {"global_batch_size": 16, "epochs": 3},
        "scale": {"cpus_per_replica": 1, "accelerator": "cpu"},
        "checkpoint": {"interval_steps": 20},
        **over,
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Wait until there is something of everything to see."""
    shards = pack_few(tmp_path_factory.mktemp("shards"))
    control_plane = ControlPlane(
        tmp_path_factory.mktemp("browsed") / "state",
        shards.train.parents[1],
        ALEXNET_LOCAL_RAY_CPUS="3",
    )
    with control_plane.running():
        # Longer than the first picture takes, on any machine, so that there are several.
        optim = {"global_batch_size": 16, "epochs": 12}
        over_id = control_plane.submit(**request_for(shards, "twelve epochs", optim=optim))
        # Longer than all that is asked of it; the service takes it along when it is stopped.
        optim = {"global_batch_size": 16, "epochs": 2000}
        job_id = control_plane.submit(**request_for(shards, "many epochs", optim=optim))
        control_plane.wait_status(over_id, "SUCCEEDED", timeout_s=400)
        control_plane.wait_status(job_id, "RUNNING")
        for pid in worker_pids(control_plane.attempt(job_id)):
            _give_way(pid)
        yield Trained(control_plane, shards, job_id, over_id)


def _give_way(pid: int) -> None:
    """Have a process and those that it started compute where nothing else does."""
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        # Linux keeps it for each thread, and some end meanwhile.
        with suppress(psutil.NoSuchProcess):
            for thread in one.threads():
                with suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, thread.id, 15)


@pytest.fixture(scope="session")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    store_url = f"sqlite:///{folder / 'store.db'}"
    with serving(folder / "state", store_url, {}) as url:
        # For the command alone: other services of these tests have other stores.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ALEXNET_STORE_URL", store_url)
            patch.setenv("ALEXNET_STATE_DIR", str(folder / "state"))
            run("service", "tokens", "create", "--owner", "ann", "--role", "admin")
        yield url


@pytest.fixture(scope="session")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invented]:
    """Another service, whose jobs nobody trained."""
    with inventing(tmp_path_factory.mktemp("invented")) as invented:
        yield invented


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = "chromium is not installed (Debian: apt install chromium)"
        # What CI does not test would go unnoticed.
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    with sync_playwright() as playwright:
        # Of root, whom chromium gives no sandbox; what is opened is this project's own page.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        # Which no context's own timeout is for.
        expect.set_options(timeout=WAIT_MS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Open what has neither cookies nor a cache yet; no script of its pages may fail."""
    context = chromium.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    watch = Watch(context)
    try:
        yield context
        watch.check()
    finally:
        context.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with opened(chromium, viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
