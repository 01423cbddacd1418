"""Attempts that fall silent, and those that are never heard of."""

import os
from datetime import timedelta

from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Reason
from trainer.contract.status import Status


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
