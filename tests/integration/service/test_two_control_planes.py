"""Two control planes on one store, as processes: one leads, the other reads and waits."""

from pathlib import Path

import httpx
import pytest

from service.reconciling.starter import sha256_of_token
from service.store.store import Store
from tests.acceptance.product import ControlPlane
from tests.unit.service.conftest import job_in, progress
from tests.waiting import ANSWERED_WITHIN_S, wait_for
from trainer.attempt.reporter import Reporter, post_to
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import read_order, write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.status import Desired, Status

# Nothing listens there: these tests are about the store, and Ray would cost ten seconds.
NO_RAY = {"ALEXNET_RAY_ADDRESS": "http://127.0.0.1:9"}
LEASE_S = 2
REQUEST = {"name": "refused", "data": {"train": "gone", "validation": "gone"}}


class Answering(ControlPlane):
    """Started once it answers; without Ray it never is ready."""

    def _ready(self) -> bool:
        try:
            return self.http.get("/healthz").is_success
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return False

    def role(self) -> str:
        return str(self.http.get("/readyz").json()["role"])


@pytest.mark.timeout(60)
def test_the_second_stands_by_and_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    first = Answering(tmp_path / "state", tmp_path, **NO_RAY)
    second = Answering(tmp_path / "state", tmp_path, **NO_RAY)
    try:
        first.start()
        second.start()
        assert (first.role(), second.role()) == ("leader", "standby")

        # It reads what the leader reads ...
        assert second.http.get("/jobs").raise_for_status().json() == {
            "jobs": [],
            "unreadable": [],
            "next_cursor": None,
        }
        assert "alexnet_jobs" in second.http.get("/metrics").raise_for_status().text
        # ... and sends whoever writes to it.
        for path in ("/jobs", "/jobs/any/cancel", "/jobs/any/pause", "/jobs/any/resume"):
            answer = second.http.post(path, json=REQUEST)
            assert answer.status_code == 503
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["Retry-After"]
            assert f"{first.url} (process {first.process.pid})" in answer.json()["detail"]
        assert first.http.post("/jobs", json=REQUEST).status_code == 422

        first.kill()
        wait_for("the second to lead", lambda: second.role() == "leader", timeout_s=10)
        assert second.http.post("/jobs", json=REQUEST).status_code == 422

        # The one that was killed comes back behind it.
        first.start()
        assert first.role() == "standby"
        assert second.url in first.http.post("/jobs", json=REQUEST).json()["detail"]
    finally:
        first.stop()
        second.stop()


def running_attempt(run_root: Path, control_plane_url: str, *, store_url: str) -> AttemptDirectory:
    """Put a job into the store whose attempt runs and reports to that address."""
    store = Store(store_url)
    store.migrate()
    token_sha256 = sha256_of_token("the token")
    job = job_in(store, Status.RUNNING, "running", token_sha256=token_sha256)
    store.close()
    attempt = RunDirectory(run_root / job.id).attempt(1)
    order = AttemptOrder(
        job_id=job.id,
        attempt=1,
        spec=job.spec,
        accelerator="cpu",
        resume_from=None,
        control_plane_url=control_plane_url,
        token="the token",
    )
    write_order(attempt, order)
    return attempt


@pytest.mark.timeout(60)
def test_an_attempt_is_heard_by_the_one_that_takes_over_and_hears_its_pause(
    tmp_path: Path,
) -> None:
    first = Answering(tmp_path / "state", tmp_path, **NO_RAY)
    second = Answering(tmp_path / "state", tmp_path, **NO_RAY)
    (tmp_path / "state").mkdir()
    attempt = running_attempt(
        tmp_path / "state" / "runs",
        first.url,
        store_url=f"sqlite:///{tmp_path / 'state' / 'store.db'}",
    )

    def step(control_plane: Answering) -> int:
        told = control_plane.job("running")["progress"]
        return 0 if told is None else int(told["step"])

    try:
        first.start()
        second.start()
        with (
            httpx.Client(trust_env=False, timeout=ANSWERED_WITHIN_S) as client,
            Reporter(
                attempt.events, post=post_to(read_order(attempt), attempt, client)
            ) as reporter,
        ):
            reporter.emit(progress(1))
            wait_for("the first to hear", lambda: step(first) == 1, timeout_s=10)

            first.kill()
            wait_for("the second to lead", lambda: second.role() == "leader", timeout_s=10)
            reporter.emit(progress(2))
            second.http.post("/jobs/running/pause").raise_for_status()
            wait_for("the second to hear", lambda: step(second) == 2, timeout_s=20)
            wait_for("the pause", lambda: reporter.desired is Desired.PAUSE, timeout_s=20)
            assert not reporter.disowned
        assert read_order(attempt).control_plane_url == second.url
        assert second.job("running")["status"] == "PAUSING"
    finally:
        first.stop()
        second.stop()
