"""Which kills a run has, is decided by its seed alone."""

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.kills.roles import ONE_OF_EACH, Role, planned

seeds = st.integers(0, 2**32)


@given(st.integers(1, 60), seeds)
def test_so_many_processes_are_killed(num_processes: int, seed: int) -> None:
    kills = planned(num_processes, seed)
    killed = sum(kill.num_processes for kill in kills)
    assert num_processes <= killed <= num_processes + 1
    assert [kill.number for kill in kills] == list(range(1, len(kills) + 1))


@given(seeds)
def test_everybody_is_struck_once_before_anybody_is_twice(seed: int) -> None:
    assert {kill.role for kill in planned(ONE_OF_EACH, seed)} == set(Role)


@given(st.integers(ONE_OF_EACH, 60), seeds)
def test_a_short_run_begins_a_long_one(num_processes: int, seed: int) -> None:
    short = planned(ONE_OF_EACH, seed)
    assert planned(num_processes, seed)[: len(short)] == short
