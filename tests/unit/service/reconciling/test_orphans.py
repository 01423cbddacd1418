from datetime import timedelta

import pytest

from service.access.caller import EVERYONE
from service.cluster.ray_jobs import RayJob, RayUnreachableError
from service.cluster.submission import Origin, Submission
from service.jobs.lifecycle import RayState
from service.store.deletion import delete_job
from tests.unit.service.conftest import job_in
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome
from trainer.contract.status import Status

ALIVE = RayJob(state=RayState.ALIVE)


def _tick_later(world: World) -> None:
    world.now += timedelta(seconds=60)
    world.report()
    world.tick(2)


def test_what_is_no_current_attempt_is_stopped_and_others_are_left_alone(world: World) -> None:
    world.submit()
    world.tick()
    for name in ("a-2", "b-1", "by-hand", "a", "another-a-1"):
        world.ray.jobs[name] = ALIVE
    _tick_later(world)
    assert world.ray.stopped == ["a-2"]
    assert world.status() is Status.RUNNING


def test_what_is_left_of_a_job_that_was_deleted_is_stopped_and_another_stores_is_not(
    world: World,
) -> None:
    job_in(world.store, Status.CANCELLED, "deleted")
    world.store.write(lambda connection: delete_job(connection, "deleted", EVERYONE, world.now))
    world.submit()
    world.tick()
    own = world.store.id
    origins = {
        "deleted-1": Origin(store_id=own, job_id="deleted"),
        # Of the store that this one is a copy of, submitted there since.
        "later-1": Origin(store_id=own, job_id="later"),
        # Another service on this Ray, which may even have a job of that id.
        "theirs-1": Origin(store_id="another", job_id="theirs"),
        "a-7": Origin(store_id="another", job_id="a"),
        "a-8": Origin(store_id=own, job_id="a"),
    }
    assert world.ray.origins["a-1"] == Origin(store_id=own, job_id="a")
    for name, origin in origins.items():
        world.ray.jobs[name] = ALIVE
        world.ray.origins[name] = origin
    _tick_later(world)
    assert world.ray.stopped == ["deleted-1", "a-8"]
    assert world.status() is Status.RUNNING


def test_a_submission_that_starts_after_its_attempt_was_given_up_is_stopped(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.report()
    # Ray forgets it, so another begins; then the first comes back.
    world.ray.jobs.clear()
    world.tick(3)
    assert list(world.ray.jobs) == ["a-2"]
    world.ray.jobs["a-1"] = ALIVE
    world.now += timedelta(seconds=60)
    world.tick()
    assert world.ray.stopped == ["a-1"]


def test_what_lives_of_a_job_that_is_over_is_stopped(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.end(Outcome(outcome="succeeded"))
    world.tick(2)
    assert world.status() is Status.SUCCEEDED
    world.ray.jobs["a-1"] = ALIVE
    world.now += timedelta(seconds=60)
    world.tick()
    assert world.ray.stopped == ["a-1"]


def test_an_outage_while_orphans_are_looked_for_holds_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[Submission]:
        raise RayUnreachableError("no answer")

    monkeypatch.setattr(world.ray, "live_submissions", fail)
    world.submit()
    world.tick()
    assert world.status() is Status.STARTING
