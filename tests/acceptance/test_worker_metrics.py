"""What replicas measure is scraped of Ray's agent while they train, and not after."""

import os
import signal
from functools import partial
from typing import Any, get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.acceptance.conftest import Shards
from tests.acceptance.product import ControlPlane
from tests.waiting import wait_for
from trainer.attempt.replica_metrics import ReplicaMetrics
from trainer.contract.events import Phase

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

REPLICAS = ("0", "1")


def _scrape(control_plane: ControlPlane) -> list[Sample]:
    """Return all that Ray's agent exposes; nothing before Ray has started."""
    try:
        text = httpx.get(control_plane.ray_metrics_url, timeout=20).raise_for_status().text
    except httpx.TransportError:
        return []
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _of(samples: list[Sample], name: str, **labels: str) -> list[Sample]:
    return [
        sample
        for sample in samples
        if sample.name == f"ray_{name}" and labels.items() <= sample.labels.items()
    ]


def _trained(control_plane: ControlPlane, job_id: str) -> list[Sample] | None:
    """Return all samples once both replicas have told of a step and of its phases."""
    assert control_plane.job(job_id)["status"] not in {"SUCCEEDED", "FAILED", "CANCELLED"}
    samples = _scrape(control_plane)
    for replica in REPLICAS:
        of = {"job_id": job_id, "replica": replica}
        trained = _of(samples, "alexnet_train_samples_total", **of)
        forward = _of(samples, "alexnet_train_phase_seconds_total", phase="forward", **of)
        if len(trained) != 1 or len(forward) != 1 or not trained[0].value * forward[0].value:
            return None
    return samples


def _workers_of(samples: list[Sample], job_id: str) -> set[str]:
    """Return the processes of both replicas."""
    found = _of(samples, "alexnet_train_samples_total", job_id=job_id)
    assert sorted(sample.labels["replica"] for sample in found) == [*REPLICAS]
    return {sample.labels["WorkerId"] for sample in found}


def test_replicas_have_series_as_long_as_they_train(
    control_plane: ControlPlane, shards: Shards
) -> None:
    request: dict[str, Any] = shards.spec(
        optim={"global_batch_size": 32, "epochs": 30},
        scale={"replicas": 2, "cpus_per_replica": 1, "accelerator": "cpu"},
        checkpoint={"interval_steps": 20},
    )
    job_id = control_plane.submit(**request)
    told = partial(_trained, control_plane, job_id)
    samples = wait_for("both replicas' series", told, timeout_s=120)
    workers = _workers_of(samples, job_id)
    assert len(workers) == 2

    ours = {name for sample in samples if (name := sample.name).startswith("ray_alexnet_")}
    assert ours == {f"ray_{series.name}" for series in ReplicaMetrics("", 0).series}
    for replica in REPLICAS:
        of = {"job_id": job_id, "replica": replica}
        (trained,) = _of(samples, "alexnet_train_samples_total", **of)
        (steps,) = _of(samples, "alexnet_train_step_seconds_count", **of)
        (beyond,) = _of(samples, "alexnet_train_step_seconds_bucket", le="+Inf", **of)
        assert 0 < trained.value <= 16 * steps.value
        assert beyond.value == steps.value
        phases = _of(samples, "alexnet_train_phase_seconds_total", **of)
        assert {sample.labels["phase"] for sample in phases} == {*get_args(Phase)}
    for worker in workers:
        of = {"WorkerId": worker}
        (fed,) = _of(samples, "alexnet_data_samples_total", job_id=job_id, split="train", **of)
        (read,) = _of(samples, "alexnet_data_read_bytes_total", source="local", **of)
        (decode,) = _of(samples, "alexnet_data_stage_seconds_total", stage="decode", **of)
        assert min(fed.value, read.value, decode.value) > 0
    # Ray's own are at the same place, once a node has told of itself.
    wait_for(
        "Ray's own",
        lambda: "ray_node_cpu_utilization" in {one.name for one in _scrape(control_plane)},
        timeout_s=60,
    )

    # A restart goes on in series of its own, and leaves none of before beside them.
    os.kill(control_plane.job(job_id)["worker_pids"][1], signal.SIGKILL)

    def restarted() -> list[Sample] | None:
        samples = told()
        return samples if samples and not workers & _workers_of(samples, job_id) else None

    samples = wait_for("the series of another attempt", restarted, timeout_s=120)
    assert len(control_plane.job(job_id)["attempts"]) == 2

    control_plane.http.post(f"/jobs/{job_id}/cancel").raise_for_status()
    control_plane.wait_status(job_id, "CANCELLED")

    def are_gone() -> bool:
        samples = _scrape(control_plane)
        return bool(samples) and job_id not in {one.labels.get("job_id") for one in samples}

    wait_for("the end of its series", are_gone, timeout_s=60)
