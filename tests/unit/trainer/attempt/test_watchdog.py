"""Hangs of steps and of what is no step, where there is one replica."""

import threading

import pytest

from tests.unit.trainer.attempt.watched_attempt import (
    Clock,
    Loaders,
    look_for,
    step,
    wait_for_shards,
)
from trainer.attempt import watchdog as module
from trainer.attempt.pulse import Pulse
from trainer.attempt.watchdog import ITS_END, LONG_S, START_S, Watchdog


def test_many_times_the_median_step_are_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    step(watchdog, clock, 50, 2, 2, 2, 9)
    watchdog.look(1.0)
    assert look_for(watchdog, 19) is None
    assert (
        watchdog.look(1.0) == "no step was done for 20 s, where one takes 2 s (retry.hang_factor)"
    )


def test_steps_keep_it_calm_and_nothing_below_the_floor_is_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    for _ in range(3):
        step(watchdog, clock, 0.1, 0.1)
        watchdog.look(1.0)
        assert look_for(watchdog, 59) is None
    assert "60 s" in str(watchdog.look(1.0))


def test_what_is_no_step_may_take_long_but_not_for_ever(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    # The start: the first step may compile.
    watchdog.look(1.0)
    assert look_for(watchdog, 100) is None
    step(watchdog, clock, 1, 1, 1)
    for phase in ("an evaluation", "a checkpoint"):
        with watchdog.within(phase):
            watchdog.look(1.0)
            assert look_for(watchdog, LONG_S - 1) is None
            assert phase in str(watchdog.look(1.0))
        watchdog.look(1.0)
        # Its time was no step's.
        clock.now_s += 1000
        assert look_for(watchdog, 9) is None
        assert look_for(watchdog, 2) is not None
        watchdog.note_step()
    watchdog.stand(ITS_END)
    watchdog.look(1.0)
    assert look_for(watchdog, 100) is None


def test_a_long_evaluation_gets_on_with_each_batch(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    step(watchdog, clock, 1, 1)
    with watchdog.within("an evaluation"):
        for batch in watchdog.fed(range(3)):
            watchdog.look(1.0)
            assert look_for(watchdog, LONG_S - 1) is None, batch


STAGES = ("the opening of its data", "the loading of its weights", "its first step")


def test_each_stage_before_the_first_step_has_a_bound_and_is_named(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    watchdog.look(1.0)
    for stage in STAGES:
        watchdog.begin(stage)
        watchdog.look(1.0)
        assert look_for(watchdog, START_S - 1) is None
    assert watchdog.look(1.0) == (
        "nothing moves since 900 s within its first step (retry.hang_floor_s)"
    )
    # Nor is a wait for the first batch such a stage.
    watchdog.begin("its first step")
    assert wait_for_shards(watchdog, Loaders(200), None, LONG_S - 1) is None
    # What was a stage is none after the first step.
    step(watchdog, clock, 1)
    watchdog.look(1.0)
    assert look_for(watchdog, LONG_S - 1) is None


def test_time_in_which_this_process_was_itself_frozen_does_not_count(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    step(watchdog, clock, 1, 1)
    watchdog.look(1.0)
    assert watchdog.look(1e6) is None


def test_nobody_looks_for_hangs_without_a_factor(clock: Clock) -> None:
    watchdog, strict = Watchdog(factor=None, floor_s=1), Watchdog(factor=2, floor_s=1)
    for one in (watchdog, strict):
        step(one, clock, 1, 1, 1)
    assert look_for(watchdog, 2 * LONG_S) is None
    assert look_for(strict, 2 * LONG_S) is not None


def test_it_gives_signs_of_life_until_it_finds_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module, "SIGN_EVERY_S", 0.0)
    hung, signed = threading.Event(), threading.Event()
    found: list[str] = []
    signs: list[Pulse] = []
    asked = threading.Event()

    def sign(pulse: Pulse) -> None:
        signs.append(pulse)
        signed.set()

    def read_others() -> dict[int, Pulse]:
        asked.set()
        return {}

    def note(hang: str) -> None:
        found.append(hang)
        hung.set()

    with Watchdog(
        factor=2, floor_s=0.05, on_hang=note, on_sign=sign, read_others=read_others
    ) as watchdog:
        watchdog.note_step()
        watchdog.note_step()
        assert signed.wait(30)
        assert asked.wait(30)
        assert hung.wait(30)
    assert len(found) == 1
    assert [pulse.beat for pulse in signs] == list(range(1, len(signs) + 1))
