from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.progress import bottleneck, evaluations_left, fraction, seconds_left
from tests.unit.service.conftest import make_spec, progress
from trainer.contract.events import Evaluated, Phase
from trainer.contract.timetable import Timetable

PHASES = st.dictionaries(st.sampled_from(get_args(Phase)), st.floats(0, 100))


def evaluated(seconds: float | None) -> Evaluated:
    return Evaluated(step=1, epoch=1, num_samples=1, loss=1, top1=0, top5=0, seconds=seconds)


@given(steps_per_epoch=st.integers(1, 50), planned=st.integers(1, 300), data=st.data())
def test_the_evaluations_that_are_left_are_those_of_the_timetable(
    steps_per_epoch: int, planned: int, data: st.DataObject
) -> None:
    spec = make_spec(optim={"max_steps": planned, "epochs": 300})
    step = data.draw(st.integers(1, planned))
    times = Timetable.of(spec, steps_per_epoch=steps_per_epoch)
    left = sum(times.evaluates(later) for later in range(step + 1, planned + 1))
    at = progress(step, epoch=times.epochs(step), planned_steps=planned)
    assert evaluations_left(spec, at) == left


@given(
    done=st.integers(0, 1000),
    left=st.integers(0, 1000),
    rate=st.floats(0.1, 1e6),
    evaluation_s=st.none() | st.floats(0, 1e4),
)
def test_the_time_left_is_that_of_steps_and_evaluations(
    done: int, left: int, rate: float, evaluation_s: float | None
) -> None:
    spec = make_spec(optim={"global_batch_size": 64})
    at = progress(done, epoch=done / 10, planned_steps=done + left, images_per_second=rate)
    seconds = seconds_left(spec, at, evaluated(evaluation_s))
    evaluations_s = evaluations_left(spec, at) * (evaluation_s or 0)
    assert seconds == pytest.approx(left * 64 / rate + evaluations_s)
    assert seconds_left(spec, at, None) == pytest.approx(left * 64 / rate)
    if left == 0:
        assert seconds == 0


def test_without_a_rate_no_time_is_foretold() -> None:
    assert seconds_left(make_spec(), progress(3, images_per_second=0.0), None) is None


@given(step=st.integers(0, 200), planned=st.integers(0, 100))
def test_a_fraction_is_one(step: int, planned: int) -> None:
    assert 0 <= fraction(progress(step, planned_steps=planned)) <= 1
    assert fraction(progress(planned, planned_steps=planned)) == 1


@given(PHASES)
def test_the_bottleneck_names_the_largest_share_that_is_too_large(
    seconds: dict[Phase, float],
) -> None:
    said = bottleneck(progress(1, phase_seconds=seconds))
    step_s = sum(spent for phase, spent in seconds.items() if phase != "evaluation")
    if step_s == 0:
        assert said is None
        return
    assert said is not None
    share = seconds.get("data_wait", 0.0) / step_s
    # From a half on nothing else is larger.
    if share > 0.5:
        assert said.startswith(f"waiting on data {share * 100:.0f} % of the step: raise data.")
    if share < 0.1:
        assert "waiting on data" not in said


@given(PHASES, st.floats(1e-3, 1e3))
def test_the_bottleneck_is_told_by_shares_alone(seconds: dict[Phase, float], scale: float) -> None:
    # Powers of two scale without rounding.
    doubled = {phase: spent * 4 for phase, spent in seconds.items()}
    with_evaluation = {**doubled, "evaluation": scale}
    expected = bottleneck(progress(1, phase_seconds=seconds))
    assert bottleneck(progress(1, phase_seconds=with_evaluation)) == expected


@pytest.mark.parametrize(
    ("phases", "sentence"),
    [
        ({"compute": 0.88, "other": 0.12}, "computing 88 % of the step"),
        (
            {"forward": 0.25, "exchange": 0.05, "backward": 0.58, "optimizer": 0.12},
            "computing 88 % of the step",
        ),
        (
            {"forward": 0.6, "transfer": 0.4},
            "preparing batches 40 % of the step: train on a GPU, or with more CPUs",
        ),
        (
            {"forward": 0.6, "optimizer": 0.4},
            "updating weights 40 % of the step: raise optim.global_batch_size",
        ),
        (
            {"compute": 0.69, "data_wait": 0.31},
            "waiting on data 31 % of the step: raise data.num_loader_processes",
        ),
        (
            {"compute": 0.6, "checkpoint": 0.3, "data_wait": 0.1},
            "standing for checkpoints 30 % of the step: raise checkpoint.interval_steps",
        ),
    ],
)
def test_sentences(phases: dict[Phase, float], sentence: str) -> None:
    assert bottleneck(progress(1, phase_seconds=phases)) == sentence


def test_attempts_of_release_0_1_tell_of_data_alone() -> None:
    assert bottleneck(progress(1, data_wait_ratio=0.05)) is None
    said = bottleneck(progress(1, data_wait_ratio=0.5))
    assert said == "waiting on data 50 % of the step: raise data.num_loader_processes"
