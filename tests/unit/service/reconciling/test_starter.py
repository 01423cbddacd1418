import errno
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.access.caller import EVERYONE
from service.jobs.records import JobRecord
from service.reconciling.starter import OUTAGE, Starter, sha256_of_token
from service.scheduling.admission import BEHIND
from service.scheduling.queue import QueuePolicy
from service.scheduling.room import Holding
from service.store.errors import ChangedMeanwhileError
from service.store.leases import LostLeadershipError
from service.store.store import Store
from service.store.switches import begin_drain
from tests.unit.service.databases import change
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import AttemptDirectory
from trainer.contract.status import Desired, Status


def test_a_crash_between_the_order_and_the_row_leaves_a_number_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    world.submit()
    with monkeypatch.context() as dying:
        dying.setattr(Store, "begin_attempt", die)
        with pytest.raises(KeyboardInterrupt):
            world.tick()
    world.restart()
    world.tick()
    # Nobody knows the token of the first order, so nobody may go by it.
    order = world.order(2)
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 2).token_sha256
    assert world.store.attempt("a", 2).submitted_at == world.now
    assert list(world.ray.jobs) == ["a-2"]
    assert world.transitions() == [Status.QUEUED, Status.STARTING]


@pytest.mark.parametrize(
    ("refusal", "is_taken_back"),
    [
        (ChangedMeanwhileError, True),
        (LostLeadershipError, True),
        # The commit may have come through before the store went away.
        (partial(OperationalError, "COMMIT", None), False),
    ],
)
def test_an_order_stays_unless_the_store_refused_its_attempt(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[[Exception], Exception],
    is_taken_back: bool,
) -> None:
    def refuse(*_: object) -> None:
        raise refusal(Exception("refused"))

    world.submit()
    with monkeypatch.context() as refusing:
        refusing.setattr(Store, "begin_attempt", refuse)
        with suppress(LostLeadershipError):
            world.tick()
    assert world.folder(1).order.exists() is not is_taken_back
    assert world.folder(1).path.exists() is not is_taken_back
    world.now += timedelta(seconds=30)
    world.tick()
    assert list(world.ray.jobs) == ["a-1" if is_taken_back else "a-2"]


def test_a_folder_that_another_leader_made_first_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come_too_late(attempt: AttemptDirectory, order: AttemptOrder) -> None:
        # The other has yet to write its order.
        attempt.path.mkdir(parents=True)
        write_order(attempt, order)

    world.submit()
    with monkeypatch.context() as late:
        late.setattr("service.reconciling.starter.write_order", come_too_late)
        world.tick()
    assert list(world.folder(1).path.iterdir()) == []
    assert world.status() is Status.QUEUED
    world.now += timedelta(seconds=30)
    world.tick()
    assert list(world.ray.jobs) == ["a-2"]


def test_jobs_wait_in_order_of_priority_and_age(world: World) -> None:
    world.submit("a", scale={"cpus_per_replica": 2})
    world.submit("b", scale={"cpus_per_replica": 2})
    world.submit("c", scale={"cpus_per_replica": 2}, priority=1)
    world.submit("d", scale={"cpus_per_replica": 3})
    world.tick()
    statuses = {name: world.status(name) for name in "abcd"}
    assert statuses == {
        "a": Status.QUEUED,
        "b": Status.QUEUED,
        "c": Status.STARTING,
        "d": Status.QUEUED,
    }
    assert "free are" in (world.store.job("a").message or "")
    assert world.store.job("b").message == BEHIND
    assert "whole cluster" in (world.store.job("d").message or "")
    world.end(Outcome(outcome="succeeded"), job_id="c")
    world.tick()
    assert world.status("a") is Status.STARTING
    world.ray.num_cpus = 8
    world.tick()
    assert {world.status(name) for name in "bd"} == {Status.STARTING}


def test_a_lost_store_does_not_write_over_attempts_on_disk(world: World) -> None:
    world.folder(3).path.mkdir(parents=True)
    world.submit()
    world.tick()
    assert list(world.ray.jobs) == ["a-4"]


def _no_space(_attempt: object, _order: object, **_options: bool) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "order.json")


def _failing_once(world: World) -> None:
    """Bring the job to RETRYING, its next attempt due."""
    world.submit(retry={"backoff_s": 1, "max_attempts": 2})
    world.tick()
    world.ray.end("a-1", "worker killed")
    world.tick()
    assert world.status() is Status.RETRYING
    world.now += timedelta(seconds=1.1)


@pytest.mark.parametrize("begun_before", [False, True])
def test_a_job_whose_attempt_cannot_begin_waits_as_it_is_holds_nothing_and_begins_by_itself(
    world: World,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    begun_before: bool,
) -> None:
    if begun_before:
        _failing_once(world)
    else:
        world.submit(retry={"max_attempts": 1})
    before = world.store.job("a")
    submissions = world.ray.submissions
    with monkeypatch.context() as full:
        full.setattr("service.reconciling.starter.write_order", _no_space)
        for _ in range(100):
            world.tick()
            world.now += timedelta(seconds=5)
        job = world.store.job("a")
        assert (job.status, job.attempt, job.num_failures) == (
            *(before.status, before.attempt, before.num_failures),
        )
        assert f"the run directory {world.run_root / 'a'} cannot be used" in (job.message or "")
        assert "No space left on device" in (job.message or "")
        assert world.ray.submissions == submissions
        assert caplog.text.count("No space left on device") == 1
        assert "Traceback" not in caplog.text
    # All that it would take goes to the next while it is held up.
    world.now -= timedelta(seconds=5)
    world.submit("b", scale={"cpus_per_replica": 2})
    world.tick()
    assert world.status("b") is Status.STARTING
    world.end(Outcome(outcome="succeeded"), job_id="b")
    world.now += timedelta(seconds=30)
    world.tick()
    assert world.status() is Status.STARTING
    assert f"a-{before.attempt + 1}" in world.ray.jobs


def test_a_run_root_that_is_away_is_waited_for_and_not_made_anew(world: World) -> None:
    _failing_once(world)
    world.submit("b")
    away = world.run_root.with_name("away")
    world.run_root.rename(away)
    world.tick(3)
    assert not world.run_root.exists()
    # Nor is an empty place where it was taken for it.
    world.run_root.mkdir()
    world.now += timedelta(seconds=30)
    world.tick(3)
    assert world.status() is Status.RETRYING
    assert "bring back its disk" in (world.store.job("a").message or "")
    assert world.status("b") is Status.STARTING
    (away / "a").rename(world.run_root / "a")
    world.now += timedelta(seconds=30)
    world.tick()
    assert world.status() is Status.STARTING


def test_checkpoints_that_cannot_be_searched_are_not_taken_for_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_run: object, _attempts: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "attempts")

    with monkeypatch.context() as denied:
        denied.setattr("service.reconciling.starter.resume_point", fail)
        world.submit()
        world.tick()
        job = world.store.job("a")
        assert (job.status, job.attempt, job.num_failures) == (Status.QUEUED, 0, 0)
        assert "Permission denied" in (job.message or "")
        assert world.ray.submissions == 0
    world.now += timedelta(seconds=1)
    world.tick()
    assert list(world.ray.jobs) == ["a-1"]


def test_a_job_with_an_attempt_of_another_release_begins_its_next(
    world: World, store_url: str
) -> None:
    _failing_once(world)
    change(store_url, "UPDATE attempts SET outcome = '{torn'")
    world.tick()
    assert world.status() is Status.STARTING
    assert list(world.ray.jobs) == ["a-1", "a-2"]


def test_a_running_attempt_that_cannot_be_read_holds_its_devices_and_up_nobody(
    world: World, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.submit("a")
    world.tick()
    change(store_url, "UPDATE attempts SET worker_pids = '[1'")
    world.submit("b")
    world.submit("c")
    world.tick(2)
    assert world.status("b") is Status.STARTING
    assert world.status("c") is Status.QUEUED
    assert caplog.text.count("job a could not be advanced") == 1


def test_a_job_that_cannot_be_started_does_not_hold_up_the_next(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Starter._begin

    def fail(starter: Starter, job: JobRecord, *others: Any) -> JobRecord:
        if job.id == "a":
            raise RuntimeError("unforeseen")
        return begin(starter, job, *others)

    monkeypatch.setattr(Starter, "_begin", fail)
    world.submit("a", scale={"cpus_per_replica": 2})
    world.submit("b", scale={"cpus_per_replica": 2})
    world.tick(3)
    job = world.store.job("a")
    assert job.status is Status.QUEUED
    assert job.message == "its attempt cannot begin (RuntimeError); the log says more"
    # What the first would take is not kept free for it.
    assert world.status("b") is Status.STARTING
    assert caplog.text.count("job a could not be started") == 1


def test_a_job_that_waits_for_ray_says_so_until_it_is_there(world: World) -> None:
    world.submit()
    world.reconciler.tick(None)
    assert world.store.job("a").message == OUTAGE
    world.ray.num_cpus = 0
    world.tick()
    message = world.store.job("a").message
    assert message is not None
    assert message.startswith("needs 1 ×")


def test_a_higher_priority_has_a_lower_one_pause_and_it_comes_back_by_itself(world: World) -> None:
    world.policy = QueuePolicy(preemption=True)
    world.restart()
    world.submit("a", scale={"cpus_per_replica": 2})
    world.tick()
    world.store.append_events("a", 1, [event_of(1)], now=world.now)
    world.tick()
    assert world.status() is Status.RUNNING
    world.submit("b", scale={"cpus_per_replica": 2}, priority=1)
    world.tick()
    # It is left alone for its first minutes.
    assert world.store.job("a").told is Desired.RUN
    world.now += timedelta(seconds=300)
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.told, job.desired) == (Status.PAUSING, Desired.PAUSE, Desired.RUN)
    assert job.message == "makes room for a job of higher priority"
    world.end(Outcome(outcome="paused", step=1))
    world.tick(2)
    assert (world.status("a"), world.status("b")) == (Status.QUEUED, Status.STARTING)
    message = world.store.job("a").message or ""
    assert message.startswith("made room for a job of higher priority; needs 1 ×")
    world.end(Outcome(outcome="succeeded"), job_id="b")
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.attempt, job.preempted_by) == (Status.STARTING, 2, None)
    assert Status.PAUSED not in world.transitions()


def test_what_others_hold_of_the_cluster_is_not_given_out(world: World) -> None:
    world.ray.holdings = [Holding(node_id="n", holder="another", num_cpus=1, num_gpus=0)]
    world.submit("a", scale={"cpus_per_replica": 2})
    world.tick()
    assert world.store.job("a").message == ("needs 1 × (2 CPU); free are 1 CPU and 0 GPU on 1 node")
    world.ray.holdings = []
    world.submit("b")
    world.store.ask("a", Desired.PAUSE)
    world.tick(2)
    assert world.status("b") is Status.STARTING
    # What its own attempt holds is not counted twice.
    world.ray.holdings = [Holding(node_id="n", holder="b-1", num_cpus=1, num_gpus=0)]
    world.submit("c")
    world.tick()
    assert world.status("c") is Status.STARTING


def _drain(world: World) -> None:
    world.store.write(lambda connection: begin_drain(connection, EVERYONE, world.now, pause=False))


def _pause(world: World) -> None:
    world.store.ask("b", Desired.PAUSE)


def _take_long(world: World) -> None:
    world.now += timedelta(seconds=60)


@pytest.mark.parametrize("meanwhile", [_drain, _pause, _take_long])
def test_what_was_decided_is_not_begun_once_it_is_wanted_no_more_or_is_old(
    world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[World], None]
) -> None:
    submit = world.ray.submit

    def submit_meanwhile(submission_id: str, *others: Any) -> None:
        submit(submission_id, *others)
        meanwhile(world)

    world.submit("a")
    world.submit("b")
    with monkeypatch.context() as patch:
        patch.setattr(world.ray, "submit", submit_meanwhile)
        world.tick()
    assert list(world.ray.jobs) == ["a-1"]
    assert world.store.job("b").attempt == 0
    assert not world.folder(1, "b").path.exists()
    if meanwhile is _take_long:
        world.tick()
        assert list(world.ray.jobs) == ["a-1", "b-1"]
        assert world.store.attempt("b", 1).created_at == world.now
