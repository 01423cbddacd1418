from datetime import UTC, datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.service.checkpoint_stall import INTERVAL, Seen, costs_of, figures, stall_of
from trainer.contract.events import AttemptEvent, Progress, Started


def run(step_s: float, lost_s: list[float]) -> Seen:
    """Return a run whose checkpoints cost so much, each within the step after it."""
    steps_s = [30.0]
    for number in range(2, INTERVAL * (len(lost_s) + 1) + 1):
        after, which = (number - 1) % INTERVAL == 0, (number - 1) // INTERVAL - 1
        steps_s.append(step_s + (lost_s[which] if after else 0.0))
    entered = tuple(accumulate(steps_s))
    saved = {
        step: entered[step - 1] + 0.5 * step_s for step in range(INTERVAL, len(entered), INTERVAL)
    }
    saved[len(entered)] = entered[-1] + 1
    peak = entered[INTERVAL - 1]
    return Seen(entered, saved, ((0.0, 10), (peak, 20), (peak + 0.1, 35), (peak + 50, 30)))


@given(step_s=st.floats(0.1, 10), lost_s=st.lists(st.floats(0, 5), min_size=1, max_size=6))
def test_what_each_checkpoint_cost_is_found(step_s: float, lost_s: list[float]) -> None:
    costs = costs_of(run(step_s, lost_s))
    assert costs.step_s == pytest.approx(step_s)
    assert costs.slowed_s == pytest.approx(lost_s, abs=1e-6)
    assert costs.in_work_s == pytest.approx([step_s / 2] * len(lost_s))
    assert (costs.peak_without, costs.peak_with) == (20, 35)
    assert costs.share(step_s) == pytest.approx(1 / 50)


def test_a_checkpoint_that_takes_several_steps_is_charged_for_all_of_them() -> None:
    seen = run(1.0, [0.5, 0.5])
    late = {**seen.saved, INTERVAL: seen.entered[INTERVAL] + 0.2}
    slow = tuple(
        at + (0.25 if number > INTERVAL + 1 else 0.0) for number, at in enumerate(seen.entered, 1)
    )
    assert costs_of(Seen(slow, late, seen.memory)).slowed_s == pytest.approx((0.75, 0.5))


@pytest.mark.parametrize(("slowed_s", "lost_s"), [(1.0, 1.0), (-3.0, 0.25), (0.1, 0.25)])
def test_noise_takes_nothing_from_the_standstill(slowed_s: float, lost_s: float) -> None:
    costs = costs_of(run(4.0, [slowed_s] * 3))
    values = {figure.name: figure.value for figure in figures(costs, 0.25)}
    assert values["checkpoint_stall_fraction"] == pytest.approx(lost_s / 200)
    assert values["checkpoint_step_s_within_target"] == pytest.approx(lost_s)


def test_the_standstill_is_told_by_the_steps_that_follow() -> None:
    def progress(step: int, checkpoint: float) -> str:
        data = Progress(
            step=step,
            epoch=0.1,
            planned_steps=20,
            loss=1,
            learning_rate=0.1,
            images_per_second=1,
            data_wait_ratio=0,
            phase_seconds={"compute": 1.0, "checkpoint": checkpoint},
        )
        return AttemptEvent(number=step + 2, at=datetime.now(UTC), data=data).model_dump_json()

    started = Started(
        start_step=0, planned_steps=9, steps_per_epoch=9, worker_pids=(1,), devices=("cpu", "cpu")
    )
    first = AttemptEvent(number=1, at=datetime.now(UTC), data=started).model_dump_json()
    # Of the last checkpoint no event tells yet.
    lines = [first, progress(3, 0.0), progress(5, 0.2), progress(8, 0.0), progress(9, 0.6)]
    lines.append(progress(INTERVAL * 3, 0.0))
    assert stall_of(lines) == pytest.approx((2 * 0.2 + 0.6) / 2)
