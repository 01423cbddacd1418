import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from service.cluster.ray_jobs import RayUnreachableError
from service.jobs.events import StatusChanged
from service.jobs.lifecycle import CANCEL_GRACE
from service.jobs.records import AttemptRecord
from service.reconciling.attempt_files import redirect
from service.reconciling.observer import REDIRECT_EVERY_S, STOPPED_WITHIN_S
from service.reconciling.starter import sha256_of_token
from service.store.attempts import note_verdict
from service.store.store import Store
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return World(tmp_path, store)


def test_a_job_is_started_run_and_finished(world: World) -> None:
    world.submit()
    world.tick()
    assert world.status() is Status.STARTING
    order = world.order()
    assert (order.job_id, order.attempt, order.resume_from) == ("a", 1, None)
    assert order.control_plane_url == "http://control:8000"
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 1).token_sha256
    assert stat.S_IMODE(world.folder().order.stat().st_mode) == 0o600
    assert world.ray.commands["a-1"] == [
        *("/usr/bin/python3", "-m", "trainer", "attempt"),
        str(world.folder().path),
    ]
    # The token is in the file alone.
    assert order.token not in json.dumps(world.ray.commands)

    world.tick()
    assert world.status() is Status.STARTING
    world.report()
    world.tick()
    assert world.status() is Status.RUNNING
    world.end(Outcome(outcome="succeeded", step=10))
    world.tick()
    assert world.transitions() == [
        *(Status.QUEUED, Status.STARTING, Status.RUNNING, Status.SUCCEEDED)
    ]
    assert world.store.attempt("a", 1).ended_at == world.now
    world.tick()
    assert world.ray.submissions == 1


def test_what_the_attempt_could_not_send_is_taken_from_its_spool(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    spool = b"\n".join(event_of(number).model_dump_json().encode() for number in (1, 2, 3))
    world.folder().events.write_bytes(spool + b'\n{"number": 4, "at"')
    world.end(Outcome(outcome="succeeded", step=3))
    world.tick(2)
    assert world.status() is Status.SUCCEEDED
    progress = world.store.job("a").progress
    assert progress is not None
    assert progress.step == 3
    # The end is the last thing that is told.
    assert isinstance(world.store.events("a", limit=100)[-1].data, StatusChanged)


def test_an_order_that_was_written_is_not_written_again(world: World) -> None:
    world.submit()
    world.ray.refuse_submissions = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    order = world.order()
    world.ray.refuse_submissions = False
    world.restart()
    world.tick()
    assert world.order() == order
    assert world.ray.submissions == 1


def test_a_submission_whose_answer_was_lost_is_not_made_twice(world: World) -> None:
    world.submit()
    world.ray.die_in_submit = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    assert world.store.attempt("a", 1).submitted_at is None
    world.ray.die_in_submit = False
    world.restart()
    world.tick()
    assert world.store.attempt("a", 1).submitted_at is not None
    assert world.ray.submissions == 1
    assert world.transitions() == [Status.QUEUED, Status.STARTING]


def test_a_crashed_attempt_is_followed_by_one_from_the_last_whole_checkpoint(world: World) -> None:
    world.submit(retry={"backoff_s": 2})
    world.tick()
    world.report()
    world.tick()
    world.checkpoint(10)
    torn = world.checkpoint(20)
    (torn / "velocity.safetensors").write_bytes(b"torn")
    world.ray.end("a-1", "worker killed")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.message) == (
        *(Status.RETRYING, Reason.CRASHED, "worker killed"),
    )
    world.tick()
    assert world.status() is Status.RETRYING
    world.now += timedelta(seconds=2.2)
    world.tick()
    assert world.status() is Status.STARTING
    assert world.order(2).resume_from == "attempts/0001/checkpoints/step-00000010"
    assert list(world.ray.jobs) == ["a-1", "a-2"]


def test_a_fault_of_the_data_fails_the_job_with_its_message(world: World) -> None:
    world.submit()
    world.tick()
    message = "train-00003.tar: sha256 differs; pack it again"
    world.end(Outcome(outcome="failed", reason=Reason.BAD_DATA, message=message))
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.message) == (Status.FAILED, Reason.BAD_DATA, message)


def test_a_job_that_is_gone_from_ray_is_started_again(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.report()
    world.tick()
    world.ray.jobs.clear()
    world.tick()
    assert world.store.job("a").reason in {Reason.LOST, None}
    assert world.status() is Status.STARTING
    assert world.order(2).attempt == 2


def test_an_outage_of_ray_changes_no_status(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.ray.reachable = False
    world.tick(3)
    world.reconciler.tick(None)
    assert world.status() is Status.RUNNING
    world.ray.reachable = True
    world.end(Outcome(outcome="succeeded"))
    world.tick()
    assert world.status() is Status.SUCCEEDED


def test_a_queued_job_is_cancelled_and_paused_without_ray(world: World) -> None:
    world.submit("a")
    world.submit("b")
    world.store.ask("a", Desired.CANCEL)
    world.store.ask("b", Desired.PAUSE)
    world.reconciler.tick(None)
    assert world.status("a") is Status.CANCELLED
    assert world.status("b") is Status.PAUSED
    world.tick()
    assert world.ray.submissions == 0
    world.store.ask("b", Desired.RUN)
    world.tick(2)
    assert world.status("b") is Status.STARTING


def test_an_attempt_that_does_not_hear_of_a_cancel_is_stopped(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.ask("a", Desired.CANCEL)
    world.tick(2)
    assert world.status() is Status.CANCELLING
    assert world.ray.stopped == []
    world.now += CANCEL_GRACE
    world.tick()
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.tick()
    assert world.status() is Status.CANCELLED
    assert world.store.job("a").num_failures == 0


def test_a_paused_job_goes_on_from_its_checkpoint(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.ask("a", Desired.PAUSE)
    world.tick()
    assert world.status() is Status.PAUSING
    world.checkpoint(7)
    world.end(Outcome(outcome="paused", step=7))
    world.tick(2)
    assert world.status() is Status.PAUSED
    world.store.ask("a", Desired.RUN)
    world.tick(2)
    assert world.order(2).resume_from == "attempts/0001/checkpoints/step-00000007"


def test_a_pause_before_it_has_devices_ends_an_attempt_at_once_and_counts_as_no_failure(
    world: World,
) -> None:
    world.submit()
    world.tick(2)
    world.store.ask("a", Desired.PAUSE)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]
    # It was given them just then: it hears of the pause by itself, if it has the time.
    world.report()
    world.tick(2)
    assert (world.status(), world.ray.stopped) == (Status.PAUSING, ["a-1"])
    world.ray.end("a-1", "Job was intentionally stopped.")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.num_failures) == (Status.PAUSED, 0)
    assert world.store.attempt("a", 1).outcome == Outcome(outcome="paused")
    world.store.ask("a", Desired.RUN)
    world.tick(2)
    assert (world.status(), world.store.job("a").attempt) == (Status.STARTING, 2)


def test_a_pause_that_ray_could_not_be_told_of_hides_no_later_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise RayUnreachableError("no answer")

    world.submit()
    world.tick(2)
    world.store.ask("a", Desired.PAUSE)
    with monkeypatch.context() as patch:
        patch.setattr(world.ray, "stop", away)
        world.tick(2)
    assert world.store.attempt("a", 1).outcome == Outcome(outcome="paused")
    world.report()
    world.tick()
    world.now += timedelta(seconds=STOPPED_WITHIN_S)
    world.tick()
    world.store.append_events("a", 1, [event_of(2)])
    world.tick()
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (world.ray.stopped, job.reason, job.num_failures) == ([], Reason.CRASHED, 1)


def _begin_to_write(world: World, _: pytest.MonkeyPatch) -> None:
    world.folder().events.touch()


def _report_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    check = world.store.check_fence

    def check_and_report() -> int:
        if world.status() is Status.PAUSING:
            world.report()
        return check()

    monkeypatch.setattr(world.store, "check_fence", check_and_report)


@pytest.mark.parametrize("show_signs", [_begin_to_write, _report_meanwhile])
def test_a_pause_is_left_to_an_attempt_that_has_shown_signs_of_life(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    show_signs: Callable[[World, pytest.MonkeyPatch], None],
) -> None:
    world.submit()
    world.tick(2)
    show_signs(world, monkeypatch)
    world.store.ask("a", Desired.PAUSE)
    world.tick(4)
    assert (world.status(), world.ray.stopped) == (Status.PAUSING, [])
    assert world.store.attempt("a", 1).outcome is None


def test_past_its_deadline_a_job_without_devices_fails_at_once(world: World) -> None:
    world.submit(retry={"deadline_s": 60})
    world.tick(2)
    world.now += timedelta(seconds=60)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1", "Job was intentionally stopped.")
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.reason) == (Status.FAILED, Reason.DEADLINE)


def test_stopping_on_purpose_interrupts_every_attempt_and_counts_against_none(
    world: World,
) -> None:
    world.submit("a")
    world.submit("b")
    world.tick()
    world.report()
    world.end(Outcome(outcome="succeeded"), job_id="b")
    world.reconciler.interrupt()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert world.status("b") is Status.SUCCEEDED
    world.tick()
    assert world.status("a") is Status.STARTING


@pytest.mark.parametrize("is_known", [True, False])
def test_an_interruption_that_was_foretold_is_none_while_the_attempt_lives(
    world: World, is_known: bool
) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.tick(2)
    assert (world.status(), world.ray.stopped) == (Status.RUNNING, [])
    if is_known:
        world.ray.end("a-1")
    else:
        world.ray.jobs.clear()
    world.tick()
    ended = world.store.attempt("a", 1)
    assert (ended.ended_at, ended.outcome) == (world.now, interrupted)
    assert world.store.job("a").num_failures == 0


def test_an_interruption_that_an_attempt_lived_on_through_hides_no_later_failure(
    world: World,
) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.restart()
    world.tick()
    # It may report while it is about to be stopped.
    world.store.append_events("a", 1, [event_of(2)])
    world.now += timedelta(seconds=STOPPED_WITHIN_S)
    world.tick()
    assert world.store.attempt("a", 1).outcome == interrupted
    world.store.append_events("a", 1, [event_of(3)])
    world.tick()
    assert world.store.attempt("a", 1).outcome is None
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (job.reason, job.num_failures) == (Reason.CRASHED, 1)


def test_an_attempt_that_hangs_after_an_interruption_has_hung(world: World) -> None:
    interrupted = Outcome(outcome="failed", reason=Reason.INTERRUPTED, message="a stop")
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.write(lambda connection: note_verdict(connection, "a", 1, interrupted))
    world.tick()
    world.now += timedelta(minutes=2)
    world.tick()
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (job.reason, job.num_failures) == (Reason.HUNG, 1)


def test_an_attempt_of_another_address_is_told_where_to_report_from_now_on(
    world: World,
) -> None:
    world.submit()
    world.tick()
    world.report()
    told = world.order()
    world.url = "http://elsewhere:8000"
    world.restart()
    # Whether Ray answers or not: the attempt looks for somebody to hear it.
    world.reconciler.tick(None)
    order = world.order()
    assert order.control_plane_url == "http://elsewhere:8000"
    assert order == told.model_copy(update={"control_plane_url": "http://elsewhere:8000"})
    assert stat.S_IMODE(world.folder().order.stat().st_mode) == 0o600
    # Its token is still the one that is known.
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 1).token_sha256
    written = world.folder().order.stat().st_ino
    world.tick(3)
    world.restart()
    world.tick(3)
    assert world.folder().order.stat().st_ino == written


def test_an_order_that_a_frozen_leader_wrote_late_is_mended_while_the_attempt_lives(
    world: World,
) -> None:
    world.submit()
    world.tick(2)
    world.report()
    redirect(world.folder(), "http://thawed:8000")
    world.tick()
    # One look at the file in so long is enough.
    assert world.order().control_plane_url == "http://thawed:8000"
    world.now += timedelta(seconds=REDIRECT_EVERY_S)
    world.tick()
    assert world.order().control_plane_url == world.url


def test_attempts_are_read_one_by_one_only_while_they_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    attempt = Store.attempt

    def note(store: Store, job_id: str, number: int) -> AttemptRecord:
        read.append(job_id)
        return attempt(store, job_id, number)

    world.ray.num_cpus = 3
    for job_id in ("a", "b", "starts"):
        world.submit(job_id)
    world.tick()
    for job_id in ("a", "b"):
        world.store.append_events(job_id, 1, [event_of(1)])
    world.tick()
    monkeypatch.setattr(Store, "attempt", note)
    world.tick()
    assert [world.status(job_id) for job_id in ("a", "b", "starts")] == [
        *(Status.RUNNING, Status.RUNNING, Status.STARTING)
    ]
    assert read == ["starts"]


def test_an_order_that_nobody_has_read_yet_names_the_one_who_submits_it(world: World) -> None:
    world.submit()
    world.ray.refuse_submissions = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    world.ray.refuse_submissions = False
    world.url = "http://elsewhere:8000"
    world.restart()
    world.tick()
    assert world.order().control_plane_url == "http://elsewhere:8000"
    assert world.ray.submissions == 1


def test_a_job_that_gets_on_is_not_given_up_however_often_ray_forgets_it(world: World) -> None:
    world.submit(retry={"max_attempts": 2, "backoff_s": 0})
    for number in range(1, 6):
        world.tick()
        world.report(number)
        world.tick()
        world.checkpoint(number, number)
        world.ray.jobs.clear()
        world.tick()
    assert world.store.job("a").attempt == 6
    # Without a new checkpoint the second failure in a row is the last.
    world.ray.end("a-6")
    world.tick()
    assert world.status() is Status.FAILED


def test_an_attempt_that_falls_silent_is_ended_and_followed_by_another(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.folder().events.write_bytes(b"")
    world.report()
    for _ in range(5):
        # It is heard by its spool alone too, as when it cannot reach the service.
        world.now += timedelta(seconds=100)
        os.utime(world.folder().events, (0, world.now.timestamp()))
        world.tick()
    assert world.ray.stopped == []
    world.now += timedelta(seconds=119)
    world.tick()
    assert world.ray.stopped == []
    world.now += timedelta(seconds=1)
    world.tick()
    assert world.ray.stopped == ["a-1"]
    assert "no sign of life for 120 s" in str(world.store.job("a").message)
    world.ray.end("a-1", "Job was stopped by user")
    world.tick()
    first = world.store.attempt("a", 1).outcome
    assert first is not None
    assert first.reason is Reason.HUNG
    assert world.order(2).attempt == 2


def test_why_it_was_ended_is_known_to_whoever_takes_over_before_its_end(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.report()
    world.tick()
    world.now += timedelta(seconds=120)
    world.tick()
    assert world.ray.stopped == ["a-1"]
    # It gives a sign while it ends, and the process that had it stopped is gone.
    world.store.append_events("a", 1, [event_of(2)])
    world.restart()
    world.tick()
    assert world.ray.stopped == ["a-1", "a-1"]
    world.ray.end("a-1", "Job was intentionally stopped.")
    world.restart()
    world.tick()
    first = world.store.attempt("a", 1).outcome
    assert first is not None
    assert first.reason is Reason.HUNG
    assert "no sign of life for 120 s" in str(first.message)


def test_whoever_takes_over_listens_anew(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.now += timedelta(hours=1)
    world.restart()
    world.tick()
    assert world.ray.stopped == []


def test_an_attempt_that_ray_never_starts_is_ended(world: World) -> None:
    world.submit()
    world.tick(2)
    world.now += timedelta(minutes=15) - timedelta(seconds=1)
    world.tick()
    assert world.ray.stopped == []
    world.now += timedelta(seconds=1)
    world.tick()
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.tick()
    assert (world.status(), world.store.job("a").reason) == (Status.RETRYING, Reason.HUNG)


def test_at_its_deadline_a_job_is_told_to_pause_and_fails_with_its_checkpoint(
    world: World,
) -> None:
    world.submit(retry={"deadline_s": 60})
    world.tick()
    world.report()
    world.tick()
    world.now += timedelta(seconds=60)
    world.tick()
    assert world.status() is Status.PAUSING
    assert world.store.job("a").told is Desired.PAUSE
    world.checkpoint(7)
    world.end(Outcome(outcome="paused", step=7))
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.reason) == (Status.FAILED, Reason.DEADLINE)
    assert "retry.deadline_s" in str(job.message)
