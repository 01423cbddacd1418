import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service.jobs.events import StatusChanged
from service.jobs.lifecycle import Decision, RefusedError
from service.jobs.records import JobRecord, UnreadableJob
from service.store.attempts import NewAttempt
from service.store.errors import (
    ChangedMeanwhileError,
    JobNotFoundError,
    StaleAttemptError,
    UnreadableJobError,
)
from service.store.statistics import statistics
from service.store.store import Store
from service.store.tables import points
from tests.unit.service.conftest import make_spec
from tests.unit.service.databases import change
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.events import (
    AttemptEvent,
    AttemptEventData,
    CheckpointSaved,
    Evaluated,
    Progress,
    Started,
)
from trainer.contract.status import Desired, IllegalTransitionError, Status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST = NewAttempt(number=1, accelerator="cpu", resume_from=None)
CRASH = Outcome(outcome="failed", reason=Reason.CRASHED, message="boom")


def progress(step: int) -> Progress:
    return Progress(
        step=step,
        epoch=step / 10,
        planned_steps=100,
        loss=1.5,
        learning_rate=0.01,
        images_per_second=100.0,
        data_wait_ratio=0.0,
    )


def event(number: int, data: AttemptEventData | None = None) -> AttemptEvent:
    return AttemptEvent(number=number, at=NOW, data=data or progress(number))


def steps_of(store: Store, job_id: str) -> Sequence[int]:
    query = select(points.c.step).where(points.c.job_id == job_id).order_by(points.c.step)
    return store.read(lambda connection: connection.execute(query).scalars().all())


def begun(store: Store, job_id: str = "a") -> JobRecord:
    return store.begin_attempt(store.submit(job_id, make_spec(), NOW), FIRST, NOW)


def test_an_accepted_job_is_there_with_its_first_event(store: Store) -> None:
    spec = make_spec(name="one", labels={"team": "vision"})
    job = store.submit("a", spec, NOW)
    assert job == store.job("a")
    assert (job.spec, job.status, job.attempt) == (spec, Status.QUEUED, 0)
    assert job.created_at == NOW
    (accepted,) = store.events("a", limit=10)
    assert accepted.number == 1
    assert accepted.data == StatusChanged(before=None, after=Status.QUEUED)


def test_a_job_is_found_again_after_a_restart(store_url: str) -> None:
    store = Store(store_url)
    store.migrate()
    job = store.submit("a", make_spec(), NOW)
    store.close()
    again = Store(store_url)
    again.migrate()
    assert again.job("a") == job
    again.close()


def test_there_is_no_job_that_nobody_submitted(store: Store) -> None:
    with pytest.raises(JobNotFoundError, match="nope"):
        store.job("nope")
    assert store.events("nope", limit=1) == []


def test_pages_are_cut_from_the_newest(store: Store) -> None:
    for name in "abcde":
        store.submit(name, make_spec(), NOW)
    page = store.jobs(limit=2)
    assert [job.id for job in page] == ["e", "d"]
    assert [job.id for job in store.jobs(limit=2, before_seq=page[-1].seq)] == ["c", "b"]
    assert store.jobs(status=Status.RUNNING, limit=5) == []
    assert [job.id for job in store.live_jobs()] == list("abcde")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spec", '{"name": "of another release", "flux": 1}'),
        ("spec", "{torn"),
        ("status", "HOVERING"),
        ("desired", "fly"),
        ("retry_at", "some day"),
        ("progress", "[]"),
    ],
)
def test_a_job_that_cannot_be_read_hides_no_other(
    store: Store, store_url: str, caplog: pytest.LogCaptureFixture, column: str, value: str
) -> None:
    for name in "abc":
        store.submit(name, make_spec(), NOW)
    change(store_url, "UPDATE jobs SET progress = :trained", trained=progress(1).model_dump_json())
    change(store_url, f"UPDATE jobs SET {column} = :value WHERE id = 'b'", value=value)
    for _ in range(3):
        assert [job.id for job in store.live_jobs()] == ["a", "c"]
    assert caplog.text.count("job b is in the store, but") == 1
    page = store.jobs(limit=2)
    assert [(job.id, type(job)) for job in page] == [("c", JobRecord), ("b", UnreadableJob)]
    assert [job.id for job in store.jobs(limit=2, before_seq=page[-1].seq)] == ["a"]
    assert [job.id for job in store.read(statistics).live] == ["a", "c"]
    assert store.jobs(labels=[("team", "vision")], limit=5) == []
    with pytest.raises(UnreadableJobError, match=r"job b .*start the release that wrote it"):
        store.job("b")
    with pytest.raises(UnreadableJobError):
        store.ask("b", Desired.CANCEL)


def test_an_attempt_begins_with_its_job(store: Store) -> None:
    queued = store.submit("a", make_spec(), NOW)
    job = store.begin_attempt(queued, replace(FIRST, token_sha256="digest"), NOW)
    assert (job.status, job.attempt, job.started_at) == (Status.STARTING, 1, NOW)
    attempt = store.attempt("a", 1)
    assert (attempt.submission_id, attempt.token_sha256) == ("a-1", "digest")
    assert attempt.submitted_at is None
    store.note_submitted("a", 1, NOW)
    assert store.attempt("a", 1).submitted_at == NOW


def test_a_decision_about_a_job_that_has_changed_is_refused(store: Store) -> None:
    job = store.submit("a", make_spec(), NOW)
    store.begin_attempt(job, FIRST, NOW)
    with pytest.raises(ChangedMeanwhileError):
        store.apply(job, Decision(status=Status.CANCELLED), NOW)
    assert store.job("a").status is Status.STARTING


def test_a_change_beyond_the_table_is_refused_and_leaves_no_trace(store: Store) -> None:
    job = begun(store)
    before = store.events("a", limit=10)
    with pytest.raises(IllegalTransitionError):
        store.apply(job, Decision(status=Status.PAUSED, ended=CRASH), NOW)
    assert store.attempt("a", 1).ended_at is None
    assert store.events("a", limit=10) == before


def test_an_attempt_that_ends_counts_as_a_failure_of_its_job(store: Store) -> None:
    job = begun(store)
    later = NOW + timedelta(seconds=2)
    decision = Decision(
        status=Status.RETRYING,
        reason=Reason.CRASHED,
        message="boom",
        retry_at=later,
        ended=CRASH,
        num_failures=1,
    )
    store.apply(job, decision, NOW)
    job = store.job("a")
    assert (job.status, job.num_failures, job.retry_at) == (Status.RETRYING, 1, later)
    assert store.attempt("a", 1).outcome == CRASH
    changed = store.events("a", limit=10)[-1]
    assert changed.data == StatusChanged(
        before=Status.STARTING, after=Status.RETRYING, reason=Reason.CRASHED, message="boom"
    )
    assert changed.attempt == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("outcome", "{torn"),
        ("outcome", '{"outcome": "failed", "reason": "of another release"}'),
        ("worker_pids", "[1"),
        ("created_at", "some day"),
    ],
)
def test_an_attempt_that_cannot_be_read_keeps_its_number_and_what_it_was_given(
    store: Store, store_url: str, column: str, value: str
) -> None:
    job = begun(store)
    begun(store, "b")
    store.apply(job, Decision(status=Status.RETRYING, ended=CRASH), NOW)
    store.begin_attempt(store.job("a"), replace(FIRST, number=2, accelerator="gpu"), NOW)
    change(store_url, f"UPDATE attempts SET {column} = :value", value=value)
    assert store.attempt_numbers("a") == [1, 2]
    assert store.accelerators_in_use() == {"a": "gpu", "b": "cpu"}
    # Nor is anything else left unsaid for it.
    assert store.read(statistics).jobs_by_status == {Status.STARTING: 2}


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("jobs", "status", "HOVERING"),
        ("jobs", "created_at", "some day"),
        ("jobs", "started_at", "some day"),
        ("attempts", "outcome", "{torn"),
        ("attempts", "worker_pids", "[1"),
        ("checkpoints", "saved_at", "some day"),
    ],
)
def test_what_cannot_be_read_keeps_no_statistics_from_the_rest(
    store: Store, store_url: str, table: str, column: str, value: str
) -> None:
    saved = CheckpointSaved(
        step=3, epoch=0.3, path="p", size_bytes=9, weights_sha256="f" * 64, top1=None
    )
    for name in ("torn", "whole"):
        job = begun(store, name)
        store.append_events(name, 1, [event(1, saved)])
        store.apply(job, Decision(status=Status.RETRYING, reason=Reason.CRASHED, ended=CRASH), NOW)
        store.begin_attempt(store.job(name), replace(FIRST, number=2), NOW)
        store.apply(store.job(name), Decision(status=Status.RUNNING), NOW)
    key = "id" if table == "jobs" else "job_id"
    change(store_url, f"UPDATE {table} SET {column} = :value WHERE {key} = 'torn'", value=value)
    seen = store.read(statistics)
    assert seen.jobs_by_status[Status.RUNNING] >= 1
    assert seen.queue.count == (1 if table == "jobs" else 2)
    assert seen.restarts_by_reason["crashed"] >= 1
    assert "whole" in seen.newest_checkpoints


def test_reports_are_kept_where_they_are_looked_for(store: Store) -> None:
    begun(store)
    started = Started(
        start_step=0, planned_steps=100, steps_per_epoch=10, worker_pids=(7, 8), devices=("cpu",)
    )
    evaluated = Evaluated(step=3, epoch=0.3, num_samples=20, loss=1.0, top1=0.5, top5=0.9)
    saved = CheckpointSaved(
        step=3, epoch=0.3, path="p", size_bytes=9, weights_sha256="f" * 64, top1=0.5
    )
    reported = [event(1, started), event(2), event(3, evaluated), event(4, saved), event(5, saved)]
    assert store.append_events("a", 1, reported).stored_through == 5
    job = store.job("a")
    assert job.progress == progress(2)
    assert job.evaluation == evaluated
    assert store.attempt("a", 1).worker_pids == (7, 8)
    (checkpoint,) = store.checkpoints("a")
    assert (checkpoint.step, checkpoint.attempt, checkpoint.saved_at) == (3, 1, NOW)
    seen = store.read(statistics)
    assert seen.newest_checkpoints["a"] == checkpoint


def told(number: int) -> AttemptEvent:
    """Of every three events two are progress."""
    evaluated = Evaluated(step=number, epoch=0.3, num_samples=20, loss=1.0, top1=0.5, top5=0.9)
    return event(number, evaluated if number % 3 == 0 else None)


# Each example has a job of its own.
NEW_JOBS = map("j{}".format, itertools.count())


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(1, 8), max_size=6), max_size=6))
def test_events_in_any_order_and_number_are_stored_once_without_gaps(
    store: Store, batches: list[list[int]]
) -> None:
    job_id = next(NEW_JOBS)
    begun(store, job_id)
    through = 0
    for batch in batches:
        reported = [told(number) for number in batch]
        through = store.append_events(job_id, 1, reported).stored_through
    assert store.attempt(job_id, 1).events_through == through
    reported = [told(number) for number in range(1, through + 1)]
    steps = [one.data.step for one in reported if isinstance(one.data, Progress)]
    assert steps_of(store, job_id) == steps
    stored = store.events(job_id, limit=100)
    assert [one.number for one in stored] == list(range(1, len(stored) + 1))
    evaluated = [one.data for one in reported if isinstance(one.data, Evaluated)]
    assert [one.data for one in stored if not isinstance(one.data, StatusChanged)] == evaluated


def test_progress_is_a_point_and_no_event_and_tells_when_the_job_advanced(store: Store) -> None:
    job = begun(store)
    before = store.events("a", limit=10)
    phases = progress(4).model_copy(update={"phase_seconds": {"compute": 0.5}})
    later = NOW + timedelta(minutes=1)
    store.append_events("a", 1, [event(1, progress(2)), event(2, phases)], now=later)
    assert store.events("a", limit=10) == before
    assert steps_of(store, "a") == [2, 4]
    advanced = store.job("a")
    assert (advanced.progress, advanced.advanced_at) == (phases, later)
    store.apply(job, Decision(status=Status.RETRYING, ended=CRASH), NOW)
    again = store.begin_attempt(store.job("a"), replace(FIRST, number=2), NOW)
    assert again.advanced_at is None


def test_a_step_that_is_done_again_counts_as_it_was_done_last(store: Store) -> None:
    begun(store)
    worse = progress(1).model_copy(update={"loss": 9.0})
    store.append_events("a", 1, [event(1, worse), event(2, progress(1))])
    assert steps_of(store, "a") == [1]
    losses = store.read(
        lambda connection: connection.execute(select(points.c.loss)).scalars().all()
    )
    assert losses == [1.5]


def test_a_checkpoint_that_is_told_of_again_is_the_same(store: Store) -> None:
    begun(store)
    saved = CheckpointSaved(
        step=3, epoch=0.3, path="p", size_bytes=2**40, weights_sha256="f" * 64, top1=None
    )
    store.append_events("a", 1, [event(1, saved)])
    store.append_events("a", 1, [event(2, saved.model_copy(update={"top1": 0.5}))])
    (checkpoint,) = store.checkpoints("a")
    assert (checkpoint.top1, checkpoint.size_bytes) == (0.5, 2**40)


def test_jobs_are_found_by_all_of_their_labels(store: Store) -> None:
    for name, labels in (("a", {"team": "x", "on": "1"}), ("b", {"team": "x"}), ("c", {})):
        store.submit(name, make_spec(labels=labels), NOW)
    for wanted, found in (
        ([("team", "x")], ["b", "a"]),
        ([("team", "x"), ("on", "1")], ["a"]),
        ([("team", "1")], []),
    ):
        assert [job.id for job in store.jobs(labels=wanted, limit=5)] == found


def test_a_stale_attempt_cannot_report(store: Store) -> None:
    job = begun(store)
    store.apply(job, Decision(status=Status.RETRYING, ended=CRASH), NOW)
    with pytest.raises(StaleAttemptError):
        store.append_events("a", 1, [event(1)])
    second = replace(FIRST, number=2)
    store.begin_attempt(store.job("a"), second, NOW)
    for number in (1, 3):
        with pytest.raises(StaleAttemptError):
            store.append_events("a", number, [])
    assert store.append_events("a", 2, [event(1)]).stored_through == 1


def test_a_wish_that_comes_too_late_is_refused(store: Store) -> None:
    job = store.submit("a", make_spec(), NOW)
    assert store.ask("a", Desired.CANCEL).desired is Desired.CANCEL
    with pytest.raises(RefusedError):
        store.ask("a", Desired.RUN)
    store.apply(job, Decision(status=Status.CANCELLED), NOW)
    assert store.job("a").finished_at == NOW
    assert store.live_jobs() == []


def test_moments_come_back_in_utc(store: Store) -> None:
    east = datetime(2026, 1, 1, 15, tzinfo=timezone(timedelta(hours=3)))
    job = store.submit("a", make_spec(), east)
    assert job.created_at == NOW
    assert job.created_at.tzinfo is UTC


def test_rows_of_no_job_are_refused(store_url: str) -> None:
    with pytest.raises(IntegrityError):
        change(
            store_url,
            "INSERT INTO events (job_id, number, at, data) VALUES ('x', 1, '2026-01-01', '{}')",
        )


def test_restarts_are_counted_by_the_reason_of_the_attempt_before(store: Store) -> None:
    job = begun(store)
    store.apply(job, Decision(status=Status.RETRYING, reason=Reason.CRASHED, ended=CRASH), NOW)
    assert store.read(statistics).restarts_by_reason == {}
    store.begin_attempt(store.job("a"), replace(FIRST, number=2), NOW)
    assert store.read(statistics).restarts_by_reason == {"crashed": 1}
