"""What users ask of a job, and its deadline, whether its attempt has devices or not."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from service.cluster.ray_jobs import RayUnreachableError
from service.jobs.lifecycle import CANCEL_GRACE
from service.reconciling.observer import STOPPED_WITHIN_S
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


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
