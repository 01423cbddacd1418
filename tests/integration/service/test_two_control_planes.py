"""Two control planes on one store, as processes: one leads, the other reads and waits."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from service.reconciling.starter import sha256_of_token
from service.store.store import Store
from tests.acceptance.product import ControlPlane, wait_for
from tests.unit.service.conftest import job_in, progress
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
            httpx.Client(trust_env=False) as client,
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


class Unfenced(Answering):
    """Without its fence, and with a clock that stands still."""

    module = "tests.integration.service.unfenced"


def on_two_machines(kind: type[Answering], tmp_path: Path, store_url: str) -> list[Answering]:
    """Return control planes with a store and run root in common, and nothing else."""
    return [
        kind(
            tmp_path / name,
            tmp_path,
            **NO_RAY,
            ALEXNET_STORE_URL=store_url,
            ALEXNET_RUN_ROOT=str(tmp_path / "runs"),
            ALEXNET_LEASE_S=str(LEASE_S),
        )
        for name in ("first", "second")
    ]


def freeze_and_thaw(first: Answering, second: Answering) -> list[str]:
    """Freeze the leader for longer than its lease, and thaw it; return what went wrong."""
    first.start()
    second.start()
    assert (first.role(), second.role()) == ("leader", "standby")
    first.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("the second to lead", lambda: second.role() == "leader", timeout_s=20)
        second.http.post("/jobs/running/pause").raise_for_status()
        # The frozen one does not answer; it is asked, and does so as its first act.
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(first.http.post, "/jobs/running/cancel")
            wait_for("the request to be there", lambda: is_connected(first), timeout_s=10)
            first.process.send_signal(signal.SIGCONT)
            answer = asked.result()
    finally:
        first.process.send_signal(signal.SIGCONT)
    wrong = []
    if answer.status_code != 503:
        wrong.append(f"the one that thawed took a request: HTTP {answer.status_code}")
    elif first.url in answer.json()["detail"]:
        wrong.append(f"it names itself as the leader: {answer.text}")
    if second.job("running")["desired"] != "pause":
        wrong.append("it has changed what the owner wants")
    if (first.role(), second.role()) != ("standby", "leader"):
        wrong.append(f"the one that thawed is {first.role()}, the other {second.role()}")
    return wrong


def is_connected(control_plane: Answering) -> bool:
    """Whether somebody has a connection to it, which the kernel takes for a frozen process too."""
    return any(
        one.raddr and one.raddr.port == control_plane.port and one.status == "ESTABLISHED"
        for one in psutil.net_connections("tcp")
    )


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_frozen_leader_that_thaws_stands_by_and_leads_again_after_the_other(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    store_url = f"sqlite:///{tmp_path / 'store.db'}"
    if database == "postgresql":
        postgres = request.getfixturevalue("postgres")
        store_url = postgres.create("two_control_planes")
    first, second = on_two_machines(Answering, tmp_path, store_url)
    try:
        running_attempt(tmp_path / "runs", first.url, store_url=store_url)
        assert freeze_and_thaw(first, second) == []
        # Both live, and one of them leads: now as before.
        second.kill()
        wait_for("the first to lead again", lambda: first.role() == "leader", timeout_s=20)
        assert first.job("running")["status"] == "PAUSING"
    finally:
        first.stop()
        second.stop()
        if database == "postgresql":
            postgres.drop("two_control_planes")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_without_fences_a_frozen_leader_that_thaws_acts_beside_the_other(tmp_path: Path) -> None:
    store_url = f"sqlite:///{tmp_path / 'store.db'}"
    first, second = on_two_machines(Unfenced, tmp_path, store_url)
    try:
        running_attempt(tmp_path / "runs", first.url, store_url=store_url)
        assert len(freeze_and_thaw(first, second)) == 3
    finally:
        first.stop()
        second.stop()
