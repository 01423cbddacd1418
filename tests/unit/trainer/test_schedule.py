import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.checkpoint import ScheduleState
from trainer.contract.spec import OptimSpec, PlateauSchedule, StepSchedule
from trainer.schedule import after_epoch, learning_rate


def _drops_after_each(
    schedule: PlateauSchedule | StepSchedule, errors: list[float]
) -> list[ScheduleState]:
    state, states = ScheduleState(), []
    for number, error in enumerate(errors, start=1):
        state = after_epoch(schedule, state, epochs_done=number, error=error)
        states.append(state)
    return states


def test_rate_falls_tenfold_with_every_drop() -> None:
    rates = [learning_rate(OptimSpec(), ScheduleState(drops=drops)) for drops in range(4)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


def test_plateau_drops_when_patience_ends() -> None:
    schedule = PlateauSchedule(patience_epochs=2)
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.71]
    assert [state.drops for state in _drops_after_each(schedule, errors)] == [0, 0, 0, 1, 1, 1, 2]


def test_step_schedule_drops_after_the_epochs_named() -> None:
    states = _drops_after_each(StepSchedule(epochs=(2, 4)), [0.5] * 5)
    assert [state.drops for state in states] == [0, 1, 1, 2, 2]


def test_the_2012_source_drops_after_23_51_and_78() -> None:
    states = _drops_after_each(StepSchedule(), [0.5] * 90)
    changes = [
        number
        for number, (before, after) in enumerate(itertools.pairwise(states), start=2)
        if before.drops != after.drops
    ]
    assert changes == [23, 51, 78]


@given(
    errors=st.lists(st.floats(0, 1), max_size=60),
    patience=st.integers(1, 6),
    max_drops=st.integers(0, 4),
)
def test_plateau_never_rises_and_never_drops_too_often(
    errors: list[float], patience: int, max_drops: int
) -> None:
    schedule = PlateauSchedule(patience_epochs=patience, max_drops=max_drops)
    states = _drops_after_each(schedule, errors)
    for before, after in zip([ScheduleState(), *states], states, strict=False):
        assert before.drops <= after.drops <= min(before.drops + 1, max_drops)
    for number, state in enumerate(states, start=1):
        assert state.best_error == min(errors[:number])
        assert state.drops <= number // patience


@given(errors=st.lists(st.floats(0, 1), min_size=1, max_size=40), cut=st.integers(0, 40))
def test_going_on_from_a_checkpoint_changes_nothing(errors: list[float], cut: int) -> None:
    schedule = PlateauSchedule(patience_epochs=2)
    undisturbed = _drops_after_each(schedule, errors)[-1]
    state = ScheduleState()
    for number, error in enumerate(errors, start=1):
        if number == cut:
            state = ScheduleState.model_validate_json(state.model_dump_json())
        state = after_epoch(schedule, state, epochs_done=number, error=error)
    assert state == undisturbed
