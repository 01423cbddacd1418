"""The control plane is killed while a job runs: started again, it adopts the job."""

import os

import pytest

from tests.acceptance.conftest import Shards
from tests.acceptance.product import ControlPlane, ledger_lines
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_killed_control_plane_adopts_the_running_job(
    control_plane: ControlPlane, shards: Shards
) -> None:
    job_id = control_plane.submit(
        **shards.spec(
            optim={"global_batch_size": 32, "epochs": 3}, checkpoint={"interval_steps": 20}
        )
    )
    control_plane.wait_status(job_id, "RUNNING")
    folder = control_plane.run_directory(job_id) / "attempts" / "0001"
    wait_for("ten steps", lambda: len(ledger_lines(folder)) >= 10, timeout_s=60)
    before = control_plane.job(job_id)
    (worker,) = before["worker_pids"]

    control_plane.kill()
    at_kill = len(ledger_lines(folder))
    wait_for("steps without it", lambda: len(ledger_lines(folder)) >= at_kill + 25, timeout_s=60)
    while_down = ledger_lines(folder)[-1]["step"]
    control_plane.start()

    os.kill(worker, 0)  # Raises if the worker is gone.
    after = control_plane.job(job_id)
    assert after["worker_pids"] == [worker]
    job = control_plane.wait_status(job_id, "SUCCEEDED", timeout_s=120)
    (attempt,) = job["attempts"]
    assert attempt["submission_id"] == f"{job_id}-1"

    steps = [line["step"] for line in ledger_lines(folder)]
    assert steps == list(range(len(steps)))
    events = control_plane.events(job_id)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    saved = [event["data"]["step"] for event in events if event["data"]["kind"] == "checkpoint"]
    assert saved == sorted(set(saved))
    # What happened while nobody listened is in the store too.
    assert any(at_kill < step <= while_down for step in saved)
