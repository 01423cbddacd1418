from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.runs import add_attempt
from trainer.attempt.pulse import News, Pulse, news, read_pulses, write_pulse
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

PULSES = st.builds(
    Pulse, beat=st.integers(1, 2), moves=st.integers(0, 2), waits_for_data=st.booleans()
)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDirectory:
    return add_attempt(RunDirectory(tmp_path))


def test_rank_0_reads_what_the_others_told_last(attempt: AttemptDirectory) -> None:
    assert read_pulses(attempt, 1) == {}
    assert read_pulses(attempt, 4) == {}
    waiting = Pulse(beat=10, moves=3, waits_for_data=True)
    write_pulse(attempt, 1, waiting)
    write_pulse(attempt, 2, waiting)
    write_pulse(attempt, 2, Pulse(beat=11, moves=3))
    assert read_pulses(attempt, 4) == {1: waiting, 2: Pulse(beat=11, moves=3)}


@pytest.mark.parametrize("torn", [b"", b'{"beat":1', b"\xff"])
def test_a_pulse_that_is_half_written_is_left_for_the_next_time(
    attempt: AttemptDirectory, torn: bytes
) -> None:
    attempt.pulse(1).write_bytes(torn)
    assert read_pulses(attempt, 2) == {}


def test_a_pulse_is_written_over_in_place(attempt: AttemptDirectory) -> None:
    write_pulse(attempt, 1, Pulse(beat=1000))
    before = attempt.pulse(1).stat().st_ino
    write_pulse(attempt, 1, Pulse(beat=1))
    assert attempt.pulse(1).stat().st_ino == before
    assert read_pulses(attempt, 2) == {1: Pulse(beat=1)}


@given(st.dictionaries(st.integers(1, 3), PULSES))
def test_what_was_heard_before_is_no_news(pulses: dict[int, Pulse]) -> None:
    assert news(pulses, pulses) == News()


@given(PULSES, PULSES)
def test_news_is_of_who_told_something_since(before: Pulse, after: Pulse) -> None:
    heard = news({1: before, 2: before}, {1: after, 2: before})
    assert heard.moved == (after.moves != before.moves)
    assert heard.wait_for_data == (after != before and after.waits_for_data)
