from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.attempt.stopwatch import Stopwatch
from trainer.contract.events import Phase

PHASES = st.sampled_from(get_args(Phase))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance_and_fail(self, seconds: float) -> None:
        self.now += seconds
        raise ZeroDivisionError


@given(st.lists(st.tuples(PHASES, st.integers(0, 1000)), max_size=30), st.data())
def test_every_moment_belongs_to_one_phase(
    stretches: list[tuple[Phase, int]], data: st.DataObject
) -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    seconds: dict[Phase, float] = {}
    for phase, stretch_s in stretches:
        stopwatch.enter(phase)
        clock.now += stretch_s
        if data.draw(st.booleans()):
            read = stopwatch.read()
            seconds = {name: seconds.get(name, 0) + read.get(name, 0) for name in seconds | read}
    read = stopwatch.read()
    seconds = {name: seconds.get(name, 0) + read.get(name, 0) for name in seconds | read}
    assert sum(seconds.values()) == clock.now - 100
    for phase, total_s in seconds.items():
        assert total_s == sum(stretch_s for name, stretch_s in stretches if name == phase)


def test_a_phase_ends_with_its_block_even_where_that_fails() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    clock.now += 2
    with pytest.raises(ZeroDivisionError), stopwatch.within("checkpoint"):
        clock.advance_and_fail(2)
    clock.now += 3
    assert stopwatch.read() == {"checkpoint": 2, "other": 5}


def test_a_block_within_a_phase_is_followed_by_that_phase_again() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    entered: list[Phase] = []
    stopwatch.on_enter = entered.append
    stopwatch.enter("forward")
    clock.now += 2
    with stopwatch.within("exchange"):
        clock.now += 3
    clock.now += 4
    assert stopwatch.read() == {"other": 0, "forward": 6, "exchange": 3}
    # A reading begins nothing.
    assert entered == ["forward", "exchange", "forward"]


def test_what_a_host_queued_and_waited_is_shared_out_as_its_device_says() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    stretches: list[tuple[Phase, int]] = [
        *(("data_wait", 1), ("transfer", 2), ("forward", 3), ("backward", 4)),
        *(("all_reduce", 5), ("optimizer", 6), ("compute", 7)),
    ]
    for phase, stretch_s in stretches:
        stopwatch.enter(phase)
        clock.now += stretch_s
    assert not stopwatch.has_heard
    stopwatch.hear({"transfer": 0.1, "forward": 0.2})
    stopwatch.hear({"backward": 0.6, "optimizer": 0.1})
    assert stopwatch.has_heard
    # 20 s were queued and waited.
    assert stopwatch.read() == pytest.approx(
        {
            "other": 0,
            "data_wait": 1,
            "transfer": 2 + 2,
            "forward": 4,
            "backward": 12,
            "all_reduce": 5,
            "optimizer": 2,
        }
    )
    assert not stopwatch.has_heard
    clock.now += 1
    assert stopwatch.read() == {"compute": 1}


def test_a_phase_is_seen_while_it_lasts_and_read_once_all_the_same() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    stopwatch.enter("forward")
    clock.now += 2
    stopwatch.enter("data_wait")
    clock.now += 600
    assert stopwatch.unread() == {"other": 0, "forward": 2, "data_wait": 600}
    clock.now += 1
    assert stopwatch.unread() == stopwatch.read() == {"other": 0, "forward": 2, "data_wait": 601}
    assert stopwatch.unread() == {"data_wait": 0}


def test_what_a_device_is_to_share_out_is_not_seen_before_it_is() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    stopwatch.hear({"forward": 1.0})
    stopwatch.read()
    stopwatch.enter("forward")
    clock.now += 2
    stopwatch.enter("data_wait")
    clock.now += 3
    assert stopwatch.unread() == {"other": 0, "data_wait": 3}


def test_what_lies_before_a_restart_counts_for_nothing() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    stopwatch.enter("compute")
    clock.now += 5
    stopwatch.restart()
    clock.now += 1
    assert stopwatch.read() == {"other": 1}
