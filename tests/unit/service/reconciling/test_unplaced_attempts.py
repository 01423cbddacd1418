"""Attempts without devices: who is waited for, and who goes back to the queue."""

from datetime import timedelta

import pytest

from service.cluster.ray_jobs import RayUnreachableError
from service.reconciling.observer import STOPPED_WITHIN_S
from service.reconciling.unplaced_attempts import UNPLACED_S
from service.scheduling.room import Cluster, Holding
from service.store.attempts import note_verdict
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status

ANOTHERS = Holding(node_id="n", holder="another", num_cpus=2, num_gpus=0)


def test_an_attempt_that_others_left_no_room_for_goes_back_to_the_queue_uncounted(
    world: World,
) -> None:
    world.submit()
    world.tick(2)
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S - 1)
    world.tick(2)
    assert world.ray.stopped == []
    world.now += timedelta(seconds=1)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1", "Job was intentionally stopped.")
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert "was given no devices in 60 s" in str(job.message)
    assert job.attempt == 1
    world.ray.holdings = []
    world.tick()
    assert (world.status(), world.store.job("a").attempt) == (Status.STARTING, 2)


def test_an_attempt_that_there_is_room_for_is_waited_for(world: World) -> None:
    world.submit()
    world.tick(2)
    world.now += timedelta(seconds=10 * UNPLACED_S)
    world.tick(2)
    assert world.ray.stopped == []
    assert world.status() is Status.STARTING


@pytest.mark.parametrize("is_told_after", [False, True])
def test_an_attempt_that_got_its_devices_after_all_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, is_told_after: bool
) -> None:
    look = world.ray.cluster

    def look_and_place() -> Cluster:
        seen = look()
        world.report()
        return seen

    world.submit()
    world.tick(2)
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S)
    with monkeypatch.context() as patch:
        if not is_told_after:
            patch.setattr(world.ray, "cluster", look_and_place)
        world.tick()
    attempt = world.store.attempt("a", 1)
    assert (attempt.outcome is not None) is is_told_after
    if is_told_after:
        world.report()
    world.tick(3)
    assert world.ray.stopped == []
    assert world.status() is Status.RUNNING
    world.now += timedelta(seconds=STOPPED_WITHIN_S)
    world.tick()
    world.store.append_events("a", 1, [event_of(2)])
    world.tick()
    world.ray.end("a-1")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (Status.RETRYING, Reason.CRASHED, 1)


@pytest.mark.parametrize("restarts", [False, True])
def test_an_attempt_that_gets_its_devices_as_it_is_stopped_counts_as_no_failure(
    world: World, restarts: bool
) -> None:
    world.submit()
    world.tick(2)
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]
    # A driver has 15 s to end.
    for number in (1, 2, 3):
        if restarts:
            world.restart()
        world.store.append_events("a", 1, [event_of(number)])
        world.now += timedelta(seconds=5)
        world.tick()
    world.ray.end("a-1", "Job was intentionally stopped.")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )


def test_who_is_stopped_for_something_else_is_not_sent_back(world: World) -> None:
    hung = Outcome(outcome="failed", reason=Reason.HUNG, message="silent")
    world.submit()
    world.tick(2)
    world.store.write(lambda connection: note_verdict(connection, "a", 1, hung))
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S)
    world.tick(2)
    assert world.store.attempt("a", 1).outcome == hung


def test_an_attempt_that_ray_never_took_and_others_left_no_room_for_is_not_submitted(
    world: World,
) -> None:
    world.ray.refuse_submissions = True
    world.submit()
    with pytest.raises(RayUnreachableError):
        world.tick()
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S)
    world.tick()
    world.ray.refuse_submissions = False
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert world.ray.submissions == 0


def test_it_is_late_only_once_ray_has_had_it_for_so_long(world: World) -> None:
    world.ray.refuse_submissions = True
    world.submit()
    with pytest.raises(RayUnreachableError):
        world.tick()
    world.now += timedelta(seconds=UNPLACED_S - 1)
    world.ray.refuse_submissions = False
    world.tick()
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S - 1)
    world.tick(2)
    assert world.ray.stopped == []
    world.now += timedelta(seconds=1)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]


def _stall(world: World, number: int) -> None:
    """Have Ray not place an attempt that has asked for its devices, and end when it is stopped."""
    name = f"a-{number}"
    # Where nobody waits, the cluster is looked at only then.
    world.now += timedelta(seconds=UNPLACED_S)
    world.ray.waiting = {name}
    world.tick()
    world.now += timedelta(seconds=UNPLACED_S - 1)
    world.tick(2)
    assert name not in world.ray.stopped
    world.now += timedelta(seconds=1)
    world.tick(2)
    assert name in world.ray.stopped
    world.ray.waiting = set()
    world.ray.end(name, "Job was intentionally stopped.")
    world.tick()


def test_a_gang_that_stalls_lets_others_go_first_for_ever_longer_and_counts_none(
    world: World,
) -> None:
    world.submit("a", scale={"replicas": 2})
    world.tick()
    world.submit("b")
    world.tick()
    assert world.status("b") is Status.QUEUED
    _stall(world, 1)
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert "goes on without it for 60 s" in str(job.message)
    assert world.status("b") is Status.STARTING
    world.ray.end("b-1")
    world.store.ask("b", Desired.CANCEL)
    world.tick()
    world.now += timedelta(seconds=58)
    world.tick()
    assert world.status() is Status.RETRYING
    world.now += timedelta(seconds=2)
    world.tick()
    assert (world.status(), world.store.job("a").attempt) == (Status.STARTING, 2)
    _stall(world, 2)
    assert "goes on without it for 120 s" in str(world.store.job("a").message)
    # Once it has run, that is forgotten.
    world.now += timedelta(seconds=120)
    world.tick(2)
    world.report(3)
    world.tick(2)
    assert world.status() is Status.RUNNING
    world.ray.end("a-3")
    world.tick()
    world.now += timedelta(minutes=5)
    world.tick()
    assert (world.status(), world.store.job("a").attempt) == (Status.STARTING, 4)
    _stall(world, 4)
    assert "goes on without it for 60 s" in str(world.store.job("a").message)


def test_how_often_a_gang_has_stalled_outlives_a_restart(world: World) -> None:
    world.submit()
    world.tick()
    _stall(world, 1)
    world.restart()
    world.tick()
    assert (world.status(), world.store.job("a").attempt) == (Status.STARTING, 2)
    _stall(world, 2)
    assert "goes on without it for 120 s" in str(world.store.job("a").message)


def test_a_request_that_is_made_anew_is_the_same_wait(world: World) -> None:
    world.submit()
    world.tick(2)
    world.now += timedelta(seconds=UNPLACED_S)
    world.ray.waiting = {"a-1"}
    world.tick()
    world.now += timedelta(seconds=UNPLACED_S / 2)
    world.ray.waiting = set()
    world.tick()
    world.now += timedelta(seconds=UNPLACED_S / 2)
    world.ray.waiting = {"a-1"}
    world.tick(2)
    assert world.ray.stopped == ["a-1"]


def test_who_waits_for_room_that_others_hold_does_not_stall(world: World) -> None:
    world.submit(scale={"replicas": 2})
    world.tick(2)
    world.ray.waiting = {"a-1"}
    world.submit("b")
    world.tick()
    world.ray.holdings = [ANOTHERS]
    world.now += timedelta(seconds=UNPLACED_S - 1)
    world.tick()
    world.ray.holdings = []
    world.now += timedelta(seconds=1)
    world.tick(2)
    assert world.ray.stopped == []
