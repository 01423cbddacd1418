"""A worker that asks for more memory than there is, is found, named, and gone on from."""

import json
from collections.abc import Iterator

import psutil
import pytest

from tests.acceptance.conftest import Shards
from tests.acceptance.product import ControlPlane, ledger_lines
from tests.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

REPLICAS = 2


@pytest.fixture(scope="module")
def two_cpus(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    state = tmp_path_factory.mktemp("two_cpus") / "state"
    plane = ControlPlane(state, shards.root, ALEXNET_LOCAL_RAY_CPUS=str(REPLICAS)).start()
    yield plane
    plane.stop()


def _spec(shards: Shards) -> dict[str, object]:
    return shards.spec(
        seed=11,
        optim={"global_batch_size": 64, "epochs": 1},
        scale={"replicas": REPLICAS, "cpus_per_replica": 1},
        checkpoint={"interval_steps": 10},
        retry={"backoff_s": 0.5, "hang_floor_s": 10.0},
    )


def _workers(plane: ControlPlane, job_id: str, step: int) -> list[int]:
    """Return the process of each replica of the first attempt, once it is past a step."""
    folder = plane.run_directory(job_id) / "attempts" / "0001"
    wait_for(
        f"step {step}",
        lambda: any(line["step"] >= step for line in ledger_lines(folder)),
        timeout_s=180,
    )
    started = json.loads((folder / "events.jsonl").read_text().splitlines()[0])
    return list(started["data"]["worker_pids"])


def test_a_worker_without_memory_names_what_to_do(two_cpus: ControlPlane, shards: Shards) -> None:
    job_id = two_cpus.submit(**_spec(shards))
    pid = _workers(two_cpus, job_id, 4)[0]
    limited = psutil.Process(pid)
    # Less than it has: an allocator that gave some back first would get as much again.
    limit_bytes = limited.memory_info().vms // 2
    limited.rlimit(psutil.RLIMIT_AS, (limit_bytes, limit_bytes))
    wait_for(
        "the end of the attempt",
        lambda: len(two_cpus.job(job_id)["attempts"]) == 2,
        timeout_s=180,
    )
    first, _ = two_cpus.job(job_id)["attempts"]
    assert first["outcome"]["reason"] == "out_of_memory", first["outcome"]
    assert "micro_batch_size" in first["outcome"]["message"]
    two_cpus.wait_status(job_id, "SUCCEEDED", timeout_s=300)
