"""Two control planes on one store, as processes: one leads, the other reads and waits."""

from pathlib import Path

import httpx
import pytest

from tests.acceptance.product import ControlPlane, wait_for

# Nothing listens there: these tests are about the store, and Ray would cost ten seconds.
NO_RAY = {"ALEXNET_RAY_ADDRESS": "http://127.0.0.1:9"}
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
