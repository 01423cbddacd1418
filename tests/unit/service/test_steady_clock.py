"""The service's time: the machine's, but for its jumps."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.steady_clock import (
    MAX_SLEW,
    MAX_SLEWED_S,
    PROCESS_CLOCK,
    SteadyClock,
    now_utc,
    wall_utc,
)

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


class Machine:
    """Clocks that are set by hand."""

    def __init__(self, boot: str = "one") -> None:
        self.wall_s = 1_800_000_000.0
        self.steady_s = 1000.0
        self.boot = boot
        self.start()

    def start(self) -> None:
        """Start the service on it, anew."""
        self.clock = SteadyClock(
            wall=lambda: self.wall_s, steady=lambda: self.steady_s, boot=self.boot
        )

    def told_s(self) -> float:
        return self.clock.now().timestamp()

    def run(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


def test_it_begins_with_the_machines_clock_and_runs_with_it() -> None:
    machine = Machine()
    for seconds in (0.0, 0.5, 86_400.0):
        machine.run(seconds)
        assert machine.told_s() == pytest.approx(machine.wall_s, abs=1e-3)


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
    assert machine.told_s() == pytest.approx(machine.wall_s, abs=1e-3)
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    direction = "forward" if jump_s > 0 else "back"
    assert f"set {direction} by 3600 s" in told.getMessage()


@pytest.mark.parametrize("years", [6, -6])
def test_a_clock_that_was_wrong_at_the_start_is_not_gone_by_once_it_is_right(
    years: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    machine.told_s()
    machine.wall_s += years * YEAR_S
    assert machine.told_s() == machine.wall_s
    (told,) = caplog.records
    assert "at once" in told.getMessage()
    machine.run(HOUR_S)
    assert machine.told_s() == pytest.approx(machine.wall_s, abs=1e-3)


def test_the_log_tells_of_each_jump_and_of_each_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    for jump_s, num_told in ((HOUR_S, 1), (0.0, 1), (HOUR_S, 2), (-2 * HOUR_S, 3), (2.0, 3)):
        machine.told_s()
        machine.run(60.0)
        machine.wall_s += jump_s
        machine.told_s()
        machine.run(60.0)
        machine.told_s()
        assert len(caplog.records) == num_told
    assert "set back by 7200 s" in caplog.records[-1].getMessage()


@given(
    moves=st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(-MAX_SLEWED_S / 9, MAX_SLEWED_S / 9)),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_the_machines_clock_does_time_passes_at_almost_its_rate_until_it_is_made_up(
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
    machine.run(abs(machine.wall_s - told_s) / MAX_SLEW + 1e-3)
    assert machine.told_s() == pytest.approx(machine.wall_s, abs=1e-3)


def test_a_service_that_is_started_anew_goes_on_with_what_it_told() -> None:
    machine = Machine()
    machine.told_s()
    machine.wall_s += HOUR_S
    reading = machine.clock.read()
    machine.run(60.0)
    machine.start()
    machine.clock.go_on(reading, None)
    assert machine.told_s() - reading.told_s == pytest.approx(60.0 * (1 + MAX_SLEW), abs=1e-3)


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
def test_a_takeover_by_a_machine_with_another_clock_is_no_jump(ahead_s: float) -> None:
    leader, standby = Machine(), Machine("another")
    standby.wall_s += ahead_s
    standby.told_s()
    reading = leader.clock.read()
    standby.run(30.0)
    standby.clock.go_on(reading, 30.0)
    assert standby.told_s() == pytest.approx(reading.told_s + 30.0, abs=1e-3)
    standby.run(60.0)
    passed_s = standby.told_s() - reading.told_s
    assert passed_s == pytest.approx(90.0, abs=60.0 * MAX_SLEW + 1e-3)


@pytest.mark.parametrize(
    ("ahead_s", "begins_s"),
    [
        (HOUR_S, HOUR_S),
        (-HOUR_S, 0.0),
        (YEAR_S, YEAR_S),
        # What was told was wrong by years, or the clock is: it is the clock that people can set.
        (-YEAR_S, -YEAR_S),
    ],
)
def test_where_nobody_watched_it_begins_with_the_machines_clock_but_not_before_what_was_told(
    ahead_s: float, begins_s: float
) -> None:
    before, after = Machine(), Machine("another boot")
    reading = before.clock.read()
    after.wall_s += ahead_s
    after.clock.go_on(reading, None)
    assert after.told_s() == reading.told_s + begins_s


def test_a_boot_is_not_taken_for_another_that_is_not_known() -> None:
    before, after = Machine(""), Machine("")
    before.steady_s = 500.0
    reading = before.clock.read()
    after.wall_s += 10.0
    after.clock.go_on(reading, None)
    assert after.told_s() == after.wall_s


def test_this_machines_boot_is_known_and_goes_on() -> None:
    reading = SteadyClock().read()
    assert reading.boot
    assert reading.boot == PROCESS_CLOCK.read().boot


def test_the_process_has_one_that_is_right() -> None:
    assert abs(now_utc() - datetime.now(UTC)) < timedelta(minutes=1)
    assert abs(wall_utc() - datetime.now(UTC)) < timedelta(minutes=1)
