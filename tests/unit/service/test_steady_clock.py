"""The service's time: the machine's, but for its jumps."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.steady_clock import MAX_SLEW, SteadyClock, now_utc

HOUR_S = 3600.0


class Machine:
    """Clocks that are set by hand."""

    def __init__(self) -> None:
        self.wall_s = 1_800_000_000.0
        self.steady_s = 1000.0
        self.clock = SteadyClock(wall=lambda: self.wall_s, steady=lambda: self.steady_s)

    def told_s(self) -> float:
        return self.clock.now().timestamp()

    def run(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


def test_it_begins_with_the_machines_clock_and_runs_with_it() -> None:
    machine = Machine()
    for seconds in (0.0, 0.5, 86_400.0):
        machine.run(seconds)
        assert machine.told_s() == pytest.approx(machine.wall_s)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_of_a_jump_nothing_is_seen_at_once_and_all_in_the_end(
    jump_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    before = machine.told_s()
    machine.wall_s += jump_s
    assert machine.told_s() == before
    for _ in range(9):
        machine.run(HOUR_S)
        assert abs(machine.wall_s - machine.told_s()) > 60
    machine.run(2 * HOUR_S)
    assert machine.told_s() == pytest.approx(machine.wall_s)
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    direction = "forward" if jump_s > 0 else "back"
    assert f"set {direction} by 3600 s" in told.getMessage()


@given(moves=st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_whatever_the_machines_clock_does_time_passes_at_almost_its_rate(
    moves: list[tuple[float, float]],
) -> None:
    machine = Machine()
    told_s = machine.told_s()
    for elapsed_s, jump_s in moves:
        machine.run(elapsed_s)
        machine.wall_s += jump_s
        passed_s = machine.told_s() - told_s
        told_s += passed_s
        assert abs(passed_s - elapsed_s) <= MAX_SLEW * elapsed_s + 1e-3


def test_the_process_has_one_that_is_right() -> None:
    assert abs(now_utc() - datetime.now(UTC)) < timedelta(minutes=1)
