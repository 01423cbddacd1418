import math
import shutil
from datetime import UTC, datetime, timedelta
from typing import get_args

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision
from service.metrics import METHODS, exposition
from service.run_files.room import RoomMeter
from service.store.attempts import NewAttempt
from service.store.store import Store
from tests.unit.service.conftest import FIRST_ATTEMPT, job_in, make_spec, progress, report
from tests.unit.service.databases import change
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import CheckpointSaved, Evaluated, Phase
from trainer.contract.status import TERMINAL, Status

SAVED = CheckpointSaved(
    step=20, epoch=2.0, path="p", size_bytes=4321, weights_sha256="0" * 64, top1=None
)
EVALUATED = Evaluated(step=20, epoch=2.0, num_samples=10, loss=1.0, top1=0.75, top5=0.9)
OF_A_JOB = {
    "alexnet_train_epoch": 2.5,
    "alexnet_train_step": 25,
    "alexnet_train_planned_steps": 100,
    "alexnet_train_loss": 1.5,
    "alexnet_train_learning_rate": 0.01,
    "alexnet_train_images_per_second": 100,
    "alexnet_train_eta_seconds": 96,  # 75 steps of 128 images
    "alexnet_checkpoint_size_bytes": 4321,
}


def families(exposed: str) -> dict[str, Metric]:
    found = {family.name: family for family in text_string_to_metric_families(exposed)}
    # One family a name: Prometheus refuses a page that has a name twice.
    assert len(found) == exposed.count("# TYPE ")
    return found


def scrape(store: Store) -> dict[str, Metric]:
    return families(exposition(store).decode())


def samples_of(found: dict[str, Metric], job_id: str) -> dict[str, float]:
    return {
        sample.name + sample.labels.get("k", "") + sample.labels.get("phase", ""): sample.value
        for family in found.values()
        for sample in family.samples
        if sample.labels.get("job_id") == job_id
    }


def values(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def trained(store: Store, job_id: str) -> None:
    job_in(store, Status.RUNNING, job_id)
    newest = progress(25, phase_seconds={"forward": 0.75, "data_wait": 0.25})
    report(store, job_id, progress(20), EVALUATED, SAVED, newest)


def test_names_kinds_and_labels_are_the_documented_ones(http: httpx.Client) -> None:
    http.get("/jobs")
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found = families(answer.text)
    # The parser takes the _total of a counter off.
    assert {name: family.type for name, family in found.items()} == {
        "http_requests": "counter",
        "http_request_duration_seconds": "histogram",
        "alexnet_data_skipped_samples": "counter",
        "alexnet_webhook_deliveries": "counter",
        "alexnet_event_streams": "gauge",
        "alexnet_downloads": "gauge",
        "alexnet_reconciler_step_age_seconds": "gauge",
        "alexnet_run_root_free_bytes": "gauge",
        "alexnet_run_root_size_bytes": "gauge",
        "alexnet_build_info": "gauge",
        "alexnet_jobs": "gauge",
        "alexnet_jobs_submitted": "counter",
        "alexnet_jobs_finished": "counter",
        "alexnet_job_queue_seconds": "histogram",
        "alexnet_job_queue_age_seconds": "gauge",
        "alexnet_job_run_seconds": "histogram",
        "alexnet_job_restarts": "counter",
        "alexnet_train_nonfinite_steps": "counter",
        "alexnet_eval_error_ratio": "gauge",
        "alexnet_checkpoint_last_success_timestamp_seconds": "gauge",
        **dict.fromkeys(OF_A_JOB, "gauge"),
        "alexnet_train_phase_seconds": "gauge",
        "alexnet_train_start_timestamp_seconds": "gauge",
    }
    (build,) = found["alexnet_build_info"].samples
    assert build.labels.keys() == {"version"}


def test_a_live_job_has_its_latest_figures(store: Store) -> None:
    before = datetime.now(UTC).timestamp()
    trained(store, "live")
    seen = samples_of(scrape(store), "live")
    started_at = seen.pop("alexnet_train_start_timestamp_seconds")
    saved_at = seen.pop("alexnet_checkpoint_last_success_timestamp_seconds")
    assert before <= started_at <= saved_at <= datetime.now(UTC).timestamp()
    phases = {f"alexnet_train_phase_seconds{phase}": 0.0 for phase in get_args(Phase)}
    phases |= {
        "alexnet_train_phase_secondsforward": 0.75,
        "alexnet_train_phase_secondsdata_wait": 0.25,
    }
    assert seen == OF_A_JOB | phases | {
        "alexnet_eval_error_ratio1": pytest.approx(0.25),
        "alexnet_eval_error_ratio5": pytest.approx(0.1),
    }


@pytest.mark.parametrize("status", [Status.QUEUED, Status.PAUSED, Status.RETRYING, Status.STARTING])
def test_a_job_that_trains_no_more_has_no_rate(
    store: Store, store_url: str, status: Status
) -> None:
    trained(store, "waits")
    change(store_url, "UPDATE jobs SET status = :status", status=status)
    seen = samples_of(scrape(store), "waits")
    gone = ("images_per_second", "phase_secondscompute", "eta_seconds", "start_timestamp_seconds")
    for name in gone:
        assert f"alexnet_train_{name}" not in seen
    assert seen["alexnet_train_step"] == 25


def test_a_job_that_runs_without_a_step_stands_at_step_0(store: Store) -> None:
    job_in(store, Status.RUNNING, "begun")
    since = store.job("begun").status_since.timestamp()
    assert samples_of(scrape(store), "begun") == {
        "alexnet_train_epoch": 0,
        "alexnet_train_step": 0,
        "alexnet_train_images_per_second": 0,
        "alexnet_train_start_timestamp_seconds": since,
    }


def test_a_job_that_saves_nothing_is_not_said_to_train_unsaved(store: Store) -> None:
    of_job = {"kind": "evaluate", "evaluation": {"checkpoints": ["some/checkpoint"]}}
    job_in(store, Status.RUNNING, "measures", spec=make_spec(**of_job))
    assert "alexnet_train_start_timestamp_seconds" not in samples_of(scrape(store), "measures")


def test_the_queue_is_as_old_as_the_job_that_waits_longest(store: Store) -> None:
    def age_s() -> float:
        (sample,) = scrape(store)["alexnet_job_queue_age_seconds"].samples
        return sample.value

    assert age_s() == 0
    now = datetime.now(UTC)
    for job_id, waited_s in (("waits", 3600), ("new", 5), ("goes", 90_000)):
        store.submit(job_id, make_spec(), now - timedelta(seconds=waited_s))
    store.begin_attempt(store.job("goes"), FIRST_ATTEMPT, now)
    assert 3600 <= age_s() < 3600 + 60
    store.begin_attempt(store.job("waits"), FIRST_ATTEMPT, now)
    assert 5 <= age_s() < 5 + 60


def test_the_run_root_s_disk_has_a_size_as_long_as_it_answers(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[float, float]:
        found = families(http.get("/metrics").text)
        free, size = (
            found[f"alexnet_run_root_{name}_bytes"].samples[0].value for name in ("free", "size")
        )
        return free, size

    free, size = told()
    assert 0 <= free <= size == shutil.disk_usage(plane.settings.run_root).total
    monkeypatch.setattr(RoomMeter, "read", lambda _: None)
    assert all(math.isnan(one) for one in told())


def test_the_newest_checkpoint_is_of_the_newest_attempt(store: Store) -> None:
    trained(store, "again")
    lost = Outcome(outcome="failed", reason=Reason.LOST)
    at = datetime.now(UTC)
    store.apply(store.job("again"), Decision(status=Status.RETRYING, ended=lost), at)
    second = NewAttempt(number=2, accelerator="cpu", resume_from=None)
    store.begin_attempt(store.job("again"), second, at)
    for step, size_bytes in ((5, 5), (10, 10)):
        report(store, "again", SAVED.model_copy(update={"step": step, "size_bytes": size_bytes}))
    assert samples_of(scrape(store), "again")["alexnet_checkpoint_size_bytes"] == 10


@pytest.mark.parametrize("ended", sorted(TERMINAL))
def test_series_of_a_job_go_with_its_end(store: Store, ended: Status) -> None:
    trained(store, "short")
    assert samples_of(scrape(store), "short")
    job = store.job("short")
    if ended is Status.CANCELLED:
        store.apply(job, Decision(status=Status.CANCELLING), datetime.now(UTC))
        job = store.job("short")
    store.apply(job, Decision(status=ended), datetime.now(UTC))
    found = scrape(store)
    assert samples_of(found, "short") == {}
    assert values(found["alexnet_jobs_finished"], "outcome") == {
        status: float(status is ended) for status in TERMINAL
    }


def test_jobs_are_counted_under_every_status(store: Store) -> None:
    for status in Status:
        job_in(store, status, f"of{status}")
    job_in(store, Status.PAUSED, "another")
    found = scrape(store)
    expected = dict.fromkeys(Status, 1.0) | {Status.PAUSED: 2.0}
    assert values(found["alexnet_jobs"], "status") == expected
    (submitted,) = found["alexnet_jobs_submitted"].samples
    assert (submitted.name, submitted.value) == ("alexnet_jobs_submitted_total", 11)


def test_a_restart_is_counted_by_why_once_the_next_attempt_has_begun(store: Store) -> None:
    at = datetime.now(UTC)
    job_in(store, Status.RETRYING, "again")
    none = dict.fromkeys(Reason, 0)
    assert values(scrape(store)["alexnet_job_restarts"], "reason") == none
    second = NewAttempt(number=2, accelerator="cpu", resume_from=None)
    job = store.begin_attempt(store.job("again"), second, at)
    lost = Outcome(outcome="failed", reason=Reason.LOST)
    store.apply(job, Decision(status=Status.RETRYING, ended=lost, reason=Reason.LOST), at)
    third = NewAttempt(number=3, accelerator="cpu", resume_from=None)
    store.begin_attempt(store.job("again"), third, at)
    restarts = scrape(store)["alexnet_job_restarts"]
    assert values(restarts, "reason") == none | {Reason.CRASHED: 1, Reason.LOST: 1}


def test_a_step_that_was_not_finite_is_counted_by_the_job_that_it_ended(store: Store) -> None:
    at = datetime.now(UTC)
    for number, reason in enumerate((Reason.NONFINITE_LOSS, Reason.CRASHED, Reason.NONFINITE_LOSS)):
        job_in(store, Status.RUNNING, f"job{number}")
        assert scrape(store)["alexnet_train_nonfinite_steps"].samples[0].value == min(number, 1)
        ended = Outcome(outcome="failed", reason=reason)
        job = store.job(f"job{number}")
        store.apply(job, Decision(status=Status.FAILED, ended=ended, reason=reason), at)
    (counted,) = scrape(store)["alexnet_train_nonfinite_steps"].samples
    assert (counted.name, counted.value) == ("alexnet_train_nonfinite_steps_total", 2)


def test_waits_and_runs_are_histograms_in_seconds(store: Store) -> None:
    accepted = datetime(2026, 1, 1, tzinfo=UTC)
    for number, (wait_s, run_s) in enumerate(((0.5, 10), (59, 70), (61, 1e6))):
        job_id = f"timed{number}"
        started = accepted + timedelta(seconds=wait_s)
        job = store.submit(job_id, make_spec(), accepted)
        job = store.begin_attempt(job, FIRST_ATTEMPT, started)
        ended = started + timedelta(seconds=run_s)
        store.apply(job, Decision(status=Status.FAILED), ended)
    found = scrape(store)
    waits = found["alexnet_job_queue_seconds"].samples
    assert _cumulative(waits, {}) == {1: 1, 5: 1, 15: 1, 60: 2, 300: 3, "inf": 3}
    assert [s.value for s in waits if s.name.endswith("_sum")] == [pytest.approx(120.5)]
    runs = found["alexnet_job_run_seconds"].samples
    counted = _cumulative(runs, {"outcome": "FAILED"})
    assert counted == {1: 0, 5: 0, 15: 1, 60: 1, 300: 2, "inf": 3}
    assert _cumulative(runs, {"outcome": "SUCCEEDED"}) == dict.fromkeys(counted, 0)


def _cumulative(samples: list[Sample], labels: dict[str, str]) -> dict[float | str, float]:
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in samples
        if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items()
    }
    edges = (1, 5, 15, 60, 300)
    return {**{edge: buckets[edge] for edge in edges}, "inf": buckets[float("inf")]}


def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(
    http: httpx.Client, plane: ControlPlane
) -> None:
    job_in(plane.store, Status.QUEUED, "asked")
    before = _requests(http)
    for path in ("/jobs/asked", "/jobs/asked", "/jobs/unknown", "/nowhere/1", "/nowhere/2"):
        http.get(path)
    http.get("/healthz", headers={"Host": "evil.example"})
    after = _requests(http)
    grown = {key: count - before.get(key, 0) for key, count in after.items()}
    grown.pop(("GET", "/metrics", "200"))
    assert {key: count for key, count in grown.items() if count} == {
        ("GET", "/jobs/{job_id}", "200"): 2,
        ("GET", "/jobs/{job_id}", "404"): 1,
        ("GET", "none", "404"): 2,
        ("GET", "none", "400"): 1,
    }


def test_an_invented_method_makes_no_series_of_its_own(http: httpx.Client) -> None:
    for method in ("BREW", "SPY"):
        http.request(method, "/healthz")
    counted = {method for method, _, _ in _requests(http)}
    assert "other" in counted
    assert counted <= METHODS | {"other"}


def test_what_nobody_caught_is_counted_as_a_500(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    job_in(plane.store, Status.QUEUED, "unforeseen")
    before = _requests(http).get(("GET", "/jobs/{job_id}", "500"), 0)
    monkeypatch.setattr("service.api.jobs.detail_fields", fail)
    # On a connection of its own: the server closes it after such a failure.
    assert (
        httpx.get(
            f"{plane.settings.advertised_url}/jobs/unforeseen", timeout=ANSWERED_WITHIN_S
        ).status_code
        == 500
    )
    assert _requests(http)["GET", "/jobs/{job_id}", "500"] == before + 1


def _requests(http: httpx.Client) -> dict[tuple[str, str, str], float]:
    found = families(http.get("/metrics").text)
    return {
        (s.labels["method"], s.labels["handler"], s.labels["status"]): s.value
        for s in found["http_requests"].samples
        if s.name == "http_requests_total"
    }
