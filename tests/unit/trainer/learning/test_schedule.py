import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.checkpoint import ScheduleState
from trainer.contract.optim_spec import OptimSpec, PlateauSchedule, StepSchedule
from trainer.learning.schedule import after_epoch, learning_rate


def _drops_after_each(
    schedule: PlateauSchedule | StepSchedule, errors: list[float]
) -> list[ScheduleState]:
    state, states = ScheduleState(), []
    for number, error in enumerate(errors, start=1):
        state = after_epoch(schedule, state, epochs_done=number, error=error)
        states.append(state)
    return states


def _rate(optim: OptimSpec, *, step: int = 0, drops: int = 0, steps_per_epoch: int = 10) -> float:
    state = ScheduleState(drops=drops)
    return learning_rate(optim, state, step=step, steps_per_epoch=steps_per_epoch)


@pytest.mark.parametrize("step", [0, 7, 10_000])
def test_rate_falls_tenfold_with_every_drop(step: int) -> None:
    rates = [_rate(OptimSpec(), step=step, drops=drops) for drops in range(4)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


@pytest.mark.parametrize(
    ("batch", "scaling", "expected"),
    [
        (1024, "none", 0.01),
        (1024, "linear", 0.08),
        (512, "sqrt", 0.02),
        (128, "linear", 0.01),
        (32, "linear", 0.0025),
    ],
)
def test_rate_grows_with_the_batch(batch: int, scaling: Any, expected: float) -> None:
    optim = OptimSpec(global_batch_size=batch, rate_scaling=scaling)
    assert _rate(optim) == pytest.approx(expected)


def test_rate_rises_over_five_epochs() -> None:
    optim = OptimSpec(global_batch_size=1024, rate_scaling="linear", warmup_epochs=5)
    rates = {step: _rate(optim, step=step) for step in (0, 10, 25, 49, 50, 51, 900)}
    assert rates == pytest.approx(
        {0: 0.01, 10: 0.024, 25: 0.045, 49: 0.0786, 50: 0.08, 51: 0.08, 900: 0.08}
    )


@given(
    batch=st.integers(1, 65_536),
    scaling=st.sampled_from(["linear", "sqrt"]),
    warmup_epochs=st.integers(0, 2000).map(lambda hundredths: hundredths / 100),
    steps_per_epoch=st.integers(1, 50),
    drops=st.integers(0, 3),
)
def test_warm_up_goes_evenly_from_the_unscaled_to_the_scaled_rate(
    batch: int, scaling: Any, warmup_epochs: float, steps_per_epoch: int, drops: int
) -> None:
    optim = OptimSpec(global_batch_size=batch, rate_scaling=scaling, warmup_epochs=warmup_epochs)
    num_steps = math.ceil(warmup_epochs * steps_per_epoch)
    rates = [
        _rate(optim, step=step, drops=drops, steps_per_epoch=steps_per_epoch)
        for step in range(num_steps + 3)
    ]
    unscaled = 0.01 * 0.1**drops
    scaled = unscaled * (batch / 128 if scaling == "linear" else math.sqrt(batch / 128))
    assert rates[num_steps:] == pytest.approx([scaled] * 3)
    if num_steps:
        assert rates[0] == pytest.approx(unscaled)
        # Each step the same amount; what is left of a last step is less.
        rise = (scaled - unscaled) / (warmup_epochs * steps_per_epoch)
        expected = [unscaled + step * rise for step in range(num_steps)]
        assert rates[:num_steps] == pytest.approx(expected)


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


@given(
    errors=st.lists(st.floats(0, 1), max_size=60),
    epochs=st.lists(st.integers(1, 60), max_size=5),
)
def test_steps_drop_after_their_epochs_whatever_the_errors(
    errors: list[float], epochs: list[int]
) -> None:
    states = _drops_after_each(StepSchedule(epochs=tuple(epochs)), errors)
    for number, state in enumerate(states, start=1):
        assert state.drops == len([epoch for epoch in epochs if epoch <= number])
        assert state.best_error == min(errors[:number])


@given(
    errors=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    schedule=st.sampled_from([PlateauSchedule(patience_epochs=2), StepSchedule(epochs=(3, 9))]),
)
def test_going_on_from_a_checkpoint_changes_nothing(
    errors: list[float], cut: int, schedule: PlateauSchedule | StepSchedule
) -> None:
    undisturbed = _drops_after_each(schedule, errors)[-1]
    state = ScheduleState()
    for number, error in enumerate(errors, start=1):
        if number == cut:
            state = ScheduleState.model_validate_json(state.model_dump_json())
        state = after_epoch(schedule, state, epochs_done=number, error=error)
    assert state == undisturbed
