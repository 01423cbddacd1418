"""While the service drains, nothing begins; what was paused for it goes on."""

from datetime import timedelta

from service.access.caller import EVERYONE
from service.reconciling.unplaced_attempts import UNPLACED_S
from service.scheduling.room import Holding
from service.scheduling.waiting import DRAINS
from service.store.switches import begin_drain, end_drain
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


def drain(world: World, *, pause: bool) -> None:
    world.store.write(lambda connection: begin_drain(connection, EVERYONE, world.now, pause=pause))


def undrain(world: World) -> None:
    world.store.write(lambda connection: end_drain(connection, EVERYONE, world.now))


def test_jobs_queue_and_are_told_why_until_it_ends(world: World) -> None:
    drain(world, pause=False)
    world.submit()
    world.tick(3)
    # As it is in the store, a restart ends no drain.
    world.restart()
    world.tick(3)
    assert world.status() is Status.QUEUED
    assert world.store.job("a").message == DRAINS
    assert world.ray.submissions == 0
    undrain(world)
    world.tick()
    assert world.status() is Status.STARTING


def test_what_runs_goes_on_but_no_attempt_follows_on_it(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.report()
    world.tick()
    drain(world, pause=False)
    world.tick()
    assert world.status() is Status.RUNNING
    world.end(Outcome(outcome="failed", reason=Reason.CRASHED))
    world.tick(3)
    assert world.status() is Status.RETRYING
    undrain(world)
    world.tick()
    assert world.status() is Status.STARTING


def test_an_attempt_that_others_left_no_room_for_is_stopped_all_the_same(world: World) -> None:
    world.submit()
    world.tick(2)
    drain(world, pause=False)
    world.ray.holdings = [Holding(node_id="n", holder="another", num_cpus=2, num_gpus=0)]
    world.now += timedelta(seconds=UNPLACED_S)
    world.tick(2)
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.ray.holdings = []
    world.tick(2)
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures, job.attempt) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0, 1),
    )


def test_what_runs_is_paused_for_it_and_goes_on_after(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    drain(world, pause=True)
    world.tick(2)
    assert world.status() is Status.PAUSING
    world.end(Outcome(outcome="paused"))
    world.tick(3)
    assert world.status() is Status.PAUSED
    undrain(world)
    assert world.store.job("a").desired is Desired.RUN
    world.tick(2)
    assert world.status() is Status.STARTING
    assert world.ray.submissions == 2


def test_what_runs_is_paused_for_it_while_ray_is_away_too(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    drain(world, pause=True)
    world.reconciler.tick(None)
    assert world.status() is Status.PAUSING
