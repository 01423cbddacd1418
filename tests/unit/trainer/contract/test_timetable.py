from collections.abc import Callable

import pytest

from trainer.contract.spec import JobSpec
from trainer.contract.timetable import Timetable

Jobs = Callable[..., JobSpec]


def test_the_end_of_a_job_is_that_of_its_epochs_or_an_earlier_step(job: Jobs) -> None:
    def planned(**optim: int) -> int:
        spec = job(optim={"global_batch_size": 8, **optim})
        return Timetable.of(spec, steps_per_epoch=4).planned_steps

    assert planned(epochs=3) == 12
    assert planned(epochs=3, max_steps=7) == 7
    assert planned(epochs=3, max_steps=70) == 12


def test_a_calibration_has_steps_of_its_own(job: Jobs) -> None:
    spec = job(
        kind="calibrate",
        calibration={"warm_up_steps": 3, "steps": 40},
        optim={"global_batch_size": 8, "epochs": 1, "max_steps": 2},
    )
    assert Timetable.of(spec, steps_per_epoch=4).planned_steps == 43


@pytest.mark.parametrize(
    ("interval_steps", "saves"), [(None, [4, 8, 10]), (3, [3, 4, 6, 8, 9, 10])]
)
def test_measured_at_ends_and_saved_at_intervals_too(
    interval_steps: int | None, saves: list[int]
) -> None:
    times = Timetable(steps_per_epoch=4, planned_steps=10, interval_steps=interval_steps)
    steps = range(1, 11)
    assert [step for step in steps if times.ends_epoch(step)] == [4, 8]
    assert [step for step in steps if times.evaluates(step)] == [4, 8, 10]
    assert [step for step in steps if times.saves(step)] == saves
    assert [times.epochs(step) for step in (2, 4, 10)] == [0.5, 1, 2.5]
