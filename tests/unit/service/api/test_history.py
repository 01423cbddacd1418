import httpx
import pytest

from service.client.client import Client
from service.client.errors import ProblemError
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.views.history import MetricHistory
from tests.unit.service.conftest import job_in, now, progress, report
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import CheckpointSaved, Evaluated
from trainer.contract.status import Status

EVALUATED = Evaluated(step=40, epoch=4.0, num_samples=10, loss=1.0, top1=0.5, top5=0.75, seconds=3)
SAVED = CheckpointSaved(
    step=40, epoch=4.0, path="p", size_bytes=1, weights_sha256="0" * 64, top1=None
)


@pytest.fixture(scope="module")
def trained(plane: ControlPlane) -> str:
    """Give a job that has done 100 steps, with an evaluation and a checkpoint after 40."""
    job_in(plane.store, Status.RUNNING, "trained")
    for step in range(1, 101):
        report(plane.store, "trained", progress(step, loss=1000.0 - step, planned_steps=200))
    report(plane.store, "trained", EVALUATED, SAVED)
    return "trained"


def test_history_is_down_sampled_to_what_is_asked_for(http: httpx.Client, trained: str) -> None:
    answer = http.get(f"/jobs/{trained}/metrics?points=10&series=loss").raise_for_status()
    history = MetricHistory.model_validate_json(answer.content)
    assert [point.step for point in history.points] == list(range(10, 101, 10))
    first = history.points[0]
    assert (first.first_step, first.num_points, first.epoch) == (1, 10, 1.0)
    assert set(first.values) == {"loss"}
    assert (first.values["loss"].min, first.values["loss"].max) == (990.0, 999.0)
    assert history.evaluations == (EVALUATED,)


def test_history_of_some_steps(http: httpx.Client, trained: str) -> None:
    query: dict[str, str | int] = {
        "from": 41,
        "to": 43,
        "series": "learning_rate,images_per_second,loss",
    }
    answer = http.get(f"/jobs/{trained}/metrics", params=query).raise_for_status()
    history = MetricHistory.model_validate_json(answer.content)
    assert [point.step for point in history.points] == [41, 42, 43]
    assert set(history.points[0].values) == {"learning_rate", "images_per_second", "loss"}
    assert history.evaluations == ()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("series=top1", "query.series"),
        ("series=loss,", "query.series"),
        ("points=0", "query.points"),
        ("points=2001", "query.points"),
        ("from=-1", "query.from"),
        ("to=9223372036854775808", "query.to"),
    ],
)
def test_what_there_is_no_history_of_is_refused(
    http: httpx.Client, trained: str, query: str, field: str
) -> None:
    answer = http.get(f"/jobs/{trained}/metrics?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_history_is_broken_down_where_that_is_asked_for(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.RUNNING, "broken-down")
    phases = {"forward": 0.5, "data_wait": 0.25}
    for step in (10, 20, 30):
        rates = (4.0, 2.0 * step)
        told = progress(step, phase_seconds=phases, replica_images_per_second=rates)
        report(plane.store, "broken-down", told)
    path = "/jobs/broken-down/metrics?from=20&series="
    answer = http.get(f"{path}breakdown").raise_for_status()
    history = MetricHistory.model_validate_json(answer.content)
    assert [one.step for one in history.breakdowns] == [20, 30]
    assert history.breakdowns[0].phase_seconds == phases
    assert history.breakdowns[0].replica_images_per_second == (4.0, 40.0)
    assert [point.values for point in history.points] == [{}, {}]
    assert http.get(f"{path}loss").raise_for_status().json()["breakdowns"] == []


def test_the_client_reads_history(plane: ControlPlane, trained: str) -> None:
    with Client(plane.settings.advertised_url) as client:
        history = client.history(trained, first=10, last=19, points=5)
        assert [point.step for point in history.points] == [11, 13, 15, 17, 19]
        with pytest.raises(ProblemError, match="none"):
            client.history("none")


def test_a_job_tells_how_far_it_is_and_how_long_it_takes(
    http: httpx.Client, trained: str, plane: ControlPlane
) -> None:
    phases = {"compute": 0.05, "data_wait": 0.05}
    newest = progress(101, planned_steps=200, data_wait_ratio=0.5, phase_seconds=phases)
    report(plane.store, trained, newest)
    told = http.get(f"/jobs/{trained}").json()["progress"]
    assert told["fraction"] == 0.505
    # 99 steps of 128 images at 100 a second; 10 epochs of 10 steps end, each evaluated for 3 s.
    assert told["eta_s"] == pytest.approx(99 * 1.28 + 10 * 3)
    assert told["phase_seconds"] == phases
    assert told["bottleneck"].startswith("waiting on data 50 % of the step")
    assert told["last_checkpoint"]["step"] == 40
    assert told["last_checkpoint"]["saved_at"]
    (listed,) = [job for job in http.get("/jobs").json()["jobs"] if job["id"] == trained]
    assert listed["progress"] == told
    crashed = Outcome(outcome="failed", reason=Reason.CRASHED)
    retrying = Decision(status=Status.RETRYING, ended=crashed, reason=Reason.CRASHED)
    plane.store.apply(plane.store.job(trained), retrying, now())
    assert http.get(f"/jobs/{trained}").json()["progress"]["eta_s"] is None
