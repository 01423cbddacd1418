import httpx

from service.control_plane import ControlPlane
from service.jobs.events import Resized
from tests.unit.service.conftest import job_in
from trainer.contract.status import Desired, Status


def test_a_paused_job_is_resumed_with_other_replicas(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.PAUSED, "grows")
    answer = http.post("/jobs/grows/resume", json={"replicas": 4})
    assert answer.status_code == 202
    job = plane.store.job("grows")
    assert (job.desired, job.spec.scale.replicas) == (Desired.RUN, 4)
    told = [one.data for one in plane.store.events("grows", limit=100)]
    assert [one for one in told if isinstance(one, Resized)] == [Resized(before=1, after=4)]


def test_replicas_that_do_not_divide_the_streams_are_refused_and_nothing_changes(
    http: httpx.Client, plane: ControlPlane
) -> None:
    before = job_in(plane.store, Status.PAUSED, "odd")
    answer = http.post("/jobs/odd/resume", json={"replicas": 3})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "replicas"
    assert "1, 2, 4, 8 would fit" in error["message"]
    after = plane.store.job("odd")
    assert (after.spec, after.desired) == (before.spec, before.desired)


def test_a_job_that_runs_is_not_resized(http: httpx.Client, plane: ControlPlane) -> None:
    job_in(plane.store, Status.RUNNING, "runs")
    answer = http.post("/jobs/runs/resume", json={"replicas": 2})
    assert answer.status_code == 409
    assert "pause it" in answer.json()["detail"]
    for body in (None, {}, {"replicas": 1}):
        assert http.post("/jobs/runs/resume", json=body).status_code == 202
