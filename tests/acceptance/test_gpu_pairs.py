"""A Ray that declares GPUs on a machine with none: replicas get disjoint pairs, or wait."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Shards
from tests.acceptance.product import ControlPlane
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def four_gpus(shards: Shards, tmp_path: Path) -> Iterator[ControlPlane]:
    control_plane = ControlPlane(
        tmp_path / "state",
        shards.root,
        ALEXNET_LOCAL_RAY_CPUS="4",
        ALEXNET_LOCAL_RAY_GPUS="4",
        ALEXNET_TEST_COMPUTE_ON_CPU="1",
    ).start()
    yield control_plane
    control_plane.stop()


def _submit(control_plane: ControlPlane, shards: Shards, name: str) -> str:
    return control_plane.submit(
        **shards.spec(
            name=name,
            optim={"global_batch_size": 32, "epochs": 500},
            scale={"accelerator": "gpu", "devices_per_replica": 2, "cpus_per_replica": 1},
        )
    )


def _gpus(control_plane: ControlPlane, job_id: str) -> set[str]:
    (started,) = (
        event["data"]
        for event in control_plane.events(job_id)
        if event["data"]["kind"] == "started"
    )
    ((first, second),) = started["gpu_ids"]
    return {first, second}


def test_replicas_get_disjoint_pairs_and_the_third_job_waits(
    four_gpus: ControlPlane, shards: Shards
) -> None:
    first, second, third = (_submit(four_gpus, shards, name) for name in ("one", "two", "three"))
    for job_id in (first, second):
        four_gpus.wait_status(job_id, "RUNNING", timeout_s=120)
    pairs = [_gpus(four_gpus, job_id) for job_id in (first, second)]
    assert set.union(*pairs) == {"0", "1", "2", "3"}

    waiting = four_gpus.job(third)
    assert waiting["status"] == "QUEUED"
    assert "GPU" in waiting["message"]
    assert not _ray_jobs(four_gpus, third)

    assert four_gpus.http.post(f"/jobs/{first}/cancel").status_code == 202
    four_gpus.wait_status(first, "CANCELLED")
    four_gpus.wait_status(third, "RUNNING", timeout_s=120)
    assert _gpus(four_gpus, third) == pairs[0]
    for job_id in (second, third):
        four_gpus.http.post(f"/jobs/{job_id}/cancel")
    for job_id in (second, third):
        four_gpus.wait_status(job_id, "CANCELLED")


def _ray_jobs(control_plane: ControlPlane, job_id: str) -> list[str]:
    """Ask Ray itself, not the control plane, for the submissions of a job."""
    token = (control_plane.state_dir / "ray-token").read_text().strip()
    address = control_plane.http.get("/cluster").json()["ray_address"]
    answer = httpx.get(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    names = [job["submission_id"] for job in answer.raise_for_status().json()]
    assert names, "Ray knows no job at all"
    return [name for name in names if name.startswith(job_id)]


def test_without_the_override_a_missing_gpu_fails_the_attempt(
    shards: Shards, tmp_path: Path
) -> None:
    control_plane = ControlPlane(
        tmp_path / "state",
        shards.root,
        ALEXNET_LOCAL_RAY_GPUS="2",
    ).start()
    try:
        job_id = control_plane.submit(
            **shards.spec(
                scale={"accelerator": "gpu", "devices_per_replica": 2},
                retry={"max_attempts": 1},
            )
        )
        wait_for("an end", lambda: control_plane.job(job_id)["status"] == "FAILED", timeout_s=90)
        assert "CUDA" in control_plane.job(job_id)["message"]
    finally:
        control_plane.stop()
