"""POST /jobs/plan: when a job would start, how long it takes, and whether its memory fits."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.attempt import Outcome
from trainer.contract.status import Status

GB = 10**9


@pytest.fixture(autouse=True)
def cluster(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(id="n", num_cpus=2, num_gpus=0, memory_bytes=4 * GB)
    monkeypatch.setattr(plane, "cluster", lambda: Cluster(nodes=[node]))


def test_a_plan_tells_when_a_job_starts_how_long_it_takes_and_whether_it_fits(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    small = {"width": 0.25, "input_size": 64, "num_classes": 10}
    spec = make_spec(model=small, optim={"global_batch_size": 64})
    job_in(plane.store, Status.RUNNING, "like", spec=spec)
    report(
        plane.store,
        "like",
        progress(100, images_per_second=50.0),
        evaluated("centre_crop", 40.0, num_samples=200),
        evaluated("ten_view", 100.0, num_samples=200),
    )
    succeeded = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("like"), succeeded, now())
    request_body |= {"evaluation": {"protocol": "ten_view"}}
    both = request_body | {"scale": {"cpus_per_replica": 2}}

    plan = http.post("/jobs/plan", json=both).json()["plan"]
    assert plan["start"]["when"] == "now"
    assert plan["start"]["estimate"]["in_s"] == 0
    assert [device["fits"] for device in plan["network"]["devices"]] == [True, True]
    assert plan["network"]["devices"][0]["capacity_bytes"] == 4 * GB
    # Of a replica with as many cores as the like job's.
    speed = http.post("/jobs/plan", json=request_body).json()["plan"]["speed"]
    evaluations = speed["evaluations"]
    # Twelve epochs of one step; the ten views last half a second an image.
    assert (evaluations["num_passes"], evaluations["num_final_passes"]) == (12, 1)
    assert evaluations["duration_s"] == pytest.approx(12 * 20 * 0.2 + 20 * 0.5)
    assert evaluations["basis"] == "measured in job like"
    assert speed["duration_s"] == pytest.approx(speed["training_s"] + evaluations["duration_s"])

    # One that waits takes as long as its own plan says.
    queued = http.get(http.post("/jobs", json=request_body).headers["Location"]).json()
    assert queued["plan"]["start"]["estimate"] is None
    first = make_spec(model=small, scale={"cpus_per_replica": 2})
    job_in(plane.store, Status.RUNNING, "runs", spec=first)
    report(
        plane.store,
        "runs",
        progress(60, images_per_second=128.0),
        evaluated("centre_crop", 5.0, num_samples=20),
    )
    asked = now()
    start = http.post("/jobs/plan", json=both).json()["plan"]["start"]
    assert start["when"] == "waits"
    # The one that runs has 40 steps, four epochs and the ten views to go; then the queued one goes.
    in_s = 40 + 4 * 5 + 50 + queued["plan"]["speed"]["duration_s"]
    assert start["estimate"]["in_s"] == pytest.approx(in_s)
    at = datetime.fromisoformat(start["estimate"]["at"])
    assert asked + timedelta(seconds=in_s - 1) < at < asked + timedelta(seconds=in_s + 60)
    assert at.utcoffset() == timedelta(0)
    assert start["estimate"]["basis"].startswith("2 jobs before it, by their rates and plans")


def test_how_long_evaluations_take_is_of_a_near_job_where_a_calibration_tells_the_speed(
    http: httpx.Client, plane: ControlPlane, request_body: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {
        "model": {"width": 0.25, "input_size": 64, "num_classes": 10},
        "scale": {"cpus_per_replica": 2},
    }
    near = make_spec(optim={"global_batch_size": 56}, **fields)
    job_in(plane.store, Status.RUNNING, "trained", spec=near)
    report(plane.store, "trained", progress(100), evaluated("centre_crop", 40.0, num_samples=200))
    succeeded = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    plane.store.apply(plane.store.job("trained"), succeeded, now())
    same = make_spec(kind="calibrate", optim={"global_batch_size": 64}, **fields)
    job_in(plane.store, Status.RUNNING, "calibrated", spec=same)
    report(plane.store, "calibrated", progress(100, images_per_second=50.0))
    plane.store.apply(plane.store.job("calibrated"), succeeded, now())

    request = request_body | {"scale": fields["scale"], "evaluation": {"protocol": "centre_crop"}}
    speed = http.post("/jobs/plan", json=request).json()["plan"]["speed"]
    assert speed["like_job"] == "calibrated"
    assert speed["evaluations"]["basis"] == "measured in job trained"
    assert speed["evaluations"]["duration_s"] == pytest.approx(12 * 20 * 0.2)


def test_what_a_job_that_has_ended_was_last_seen_to_hold_is_no_others(
    http: httpx.Client,
    plane: ControlPlane,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_in(plane.store, Status.SUCCEEDED, "over")
    # There is room for the jobs that other tests have left, and not beside what is held.
    node = Node(id="n", num_cpus=64, num_gpus=0)

    def planned(holder: str) -> dict[str, Any]:
        held = Holding(node_id="n", holder=holder, num_cpus=64, num_gpus=0)
        seen = Cluster(nodes=[node], holdings=[held])
        monkeypatch.setattr(plane, "cluster", lambda: seen)
        start: dict[str, Any] = http.post("/jobs/plan", json=request_body).json()["plan"]["start"]
        return dict(start["estimate"])

    assert planned("over-1")["in_s"] == 0
    assert planned("another-1")["at"] is None
