"""How often Ray is asked of each attempt where many run."""

from datetime import timedelta
from pathlib import Path

import pytest

from service.cluster.ray_jobs import RayJob
from service.reconciling import observer
from service.reconciling.observer import HEARD_WITHIN_S
from service.store.store import Store
from tests.unit.service.conftest import progress
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome
from trainer.contract.events import AttemptEvent
from trainer.contract.status import Status


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return World(tmp_path, store)


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One job that runs among so many that Ray is asked of each now and then; who was asked of."""
    monkeypatch.setattr(observer, "ASKED_EACH_TIME", 0)
    monkeypatch.setattr(observer, "ASKS_PER_S", 0.01)
    found: list[str] = []
    ask = world.ray.job

    def note(submission_id: str) -> RayJob:
        found.append(submission_id)
        return ask(submission_id)

    monkeypatch.setattr(world.ray, "job", note)
    world.submit()
    world.tick(2)
    tell(world, 1)
    world.tick(2)
    assert world.store.job("a").status is Status.RUNNING
    found.clear()
    return found


def tell(world: World, number: int) -> None:
    event = AttemptEvent(number=number, at=world.now, data=progress(number))
    world.store.append_events("a", 1, [event])


def test_one_that_is_heard_of_has_its_turn_now_and_then(world: World, asked: list[str]) -> None:
    for number in range(2, 62):
        world.now += timedelta(seconds=1)
        tell(world, number)
        world.tick()
    assert 60 / HEARD_WITHIN_S - 1 <= len(asked) <= 60 / HEARD_WITHIN_S + 1


def test_one_that_is_silent_is_asked_of_each_time(world: World, asked: list[str]) -> None:
    world.now += timedelta(seconds=HEARD_WITHIN_S + 1)
    world.tick(3)
    assert len(asked) == 3


def test_one_that_dies_without_a_word_is_found_in_so_long(world: World, asked: list[str]) -> None:
    world.tick()
    world.ray.end("a-1")
    world.now += timedelta(seconds=HEARD_WITHIN_S)
    world.tick()
    assert world.store.job("a").status is Status.RETRYING


def test_what_has_left_an_outcome_is_asked_of_at_once(world: World, asked: list[str]) -> None:
    world.folder().outcome.write_text(Outcome(outcome="succeeded", step=1).model_dump_json())
    world.ray.end("a-1")
    world.tick()
    assert asked == ["a-1"]
    assert world.store.job("a").status is Status.SUCCEEDED


def test_where_few_run_each_is_asked_of_each_time(
    world: World, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "ASKED_EACH_TIME", 1)
    world.now += timedelta(seconds=HEARD_WITHIN_S)
    tell(world, 2)
    world.tick(4)
    assert len(asked) == 4
