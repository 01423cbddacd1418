"""How often Ray is asked of each attempt where many run, and where attempts are told to report."""

import stat
from datetime import timedelta

import pytest

from service.cluster.ray_jobs import RayJob
from service.reconciling import observer
from service.reconciling.attempt_files import redirect
from service.reconciling.observer import HEARD_WITHIN_S, REDIRECT_EVERY_S
from service.reconciling.starter import sha256_of_token
from tests.unit.service.conftest import progress
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome
from trainer.contract.events import AttemptEvent
from trainer.contract.status import Status


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
