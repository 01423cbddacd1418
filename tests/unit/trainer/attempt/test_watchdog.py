import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.attempt import watchdog as module
from trainer.attempt.watchdog import LONG_S, Watchdog


class Clock:
    """Set by hand; stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def _step(watchdog: Watchdog, clock: Clock, *steps_s: float) -> None:
    for step_s in steps_s:
        clock.now_s += step_s
        watchdog.note_step()


def _look_for(watchdog: Watchdog, seconds: float) -> str | None:
    """Look every second for so long; return the first finding."""
    return next((found for _ in range(int(seconds)) if (found := watchdog.look(1.0))), None)


def test_many_times_the_median_step_are_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    _step(watchdog, clock, 50, 2, 2, 2, 9)
    watchdog.look(1.0)
    assert _look_for(watchdog, 19) is None
    assert watchdog.look(1.0) == "no step was done for 20 s, where one takes 2 s"


def test_steps_keep_it_calm_and_nothing_below_the_floor_is_a_hang(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    for _ in range(3):
        _step(watchdog, clock, 0.1, 0.1)
        watchdog.look(1.0)
        assert _look_for(watchdog, 59) is None
    assert "60 s" in str(watchdog.look(1.0))


def test_what_is_no_step_may_take_long_but_not_for_ever(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    # The start: the first step may compile.
    watchdog.look(1.0)
    assert _look_for(watchdog, 100) is None
    _step(watchdog, clock, 1, 1, 1)
    for phase in ("an evaluation", "a checkpoint"):
        with watchdog.within(phase):
            watchdog.look(1.0)
            assert _look_for(watchdog, LONG_S - 1) is None
            assert phase in str(watchdog.look(1.0))
        watchdog.look(1.0)
        # Its time was no step's.
        clock.now_s += 1000
        assert _look_for(watchdog, 9) is None
        assert _look_for(watchdog, 2) is not None
        watchdog.note_step()
    watchdog.stand("its end")
    watchdog.look(1.0)
    assert _look_for(watchdog, 100) is None


def test_a_long_evaluation_gets_on_with_each_batch(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=1)
    _step(watchdog, clock, 1, 1)
    with watchdog.within("an evaluation"):
        for batch in watchdog.passing(range(3)):
            watchdog.look(1.0)
            assert _look_for(watchdog, LONG_S - 1) is None, batch


def test_time_in_which_this_process_was_itself_frozen_does_not_count(clock: Clock) -> None:
    watchdog = Watchdog(factor=10, floor_s=60)
    _step(watchdog, clock, 1, 1)
    watchdog.look(1.0)
    assert watchdog.look(1e6) is None


@given(st.lists(st.floats(0.01, 100), min_size=2), st.floats(0, 1e5))
def test_nobody_looks_for_hangs_without_a_factor(steps_s: list[float], still_s: float) -> None:
    watchdog = Watchdog(factor=None)
    for _ in steps_s:
        watchdog.note_step()
    assert watchdog.look(0) is None
    assert all(watchdog.look(still_s) is None for _ in range(3))


def test_it_gives_signs_of_life_until_it_finds_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module, "SIGN_EVERY_S", 0.0)
    hung, signed = threading.Event(), threading.Event()
    found: list[str] = []

    def note(hang: str) -> None:
        found.append(hang)
        hung.set()

    with Watchdog(factor=2, floor_s=0.05, on_hang=note, on_sign=signed.set) as watchdog:
        watchdog.note_step()
        watchdog.note_step()
        assert signed.wait(30)
        assert hung.wait(30)
    assert len(found) == 1
