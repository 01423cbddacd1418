from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.submission.duration import with_evaluations
from service.views.plans import PlannedSpeed
from tests.unit.service.conftest import make_spec
from trainer.contract.events import Evaluated
from trainer.contract.spec import Protocol
from trainer.contract.timetable import Timetable

KNOWN = PlannedSpeed(images_per_second=10.0, duration_s=60.0, like_job="like", basis="measured")
UNKNOWN = PlannedSpeed(images_per_second=None, duration_s=None, like_job=None, basis="none is like")


def evaluated(
    protocol: Protocol, seconds: float | None, *, num_samples: int = 100, step: int = 1
) -> Evaluated:
    return Evaluated(
        step=step,
        epoch=1,
        num_samples=num_samples,
        loss=1,
        top1=0,
        top5=0,
        protocol=protocol,
        seconds=seconds,
    )


def planned(
    *timed: Evaluated, speed: PlannedSpeed = KNOWN, protocol: Protocol = "ten_view", **optim: Any
) -> PlannedSpeed:
    """Plan three epochs of 200 images, and a validation set of 50."""
    spec = make_spec(
        evaluation={"protocol": protocol}, optim={"global_batch_size": 64, "epochs": 3} | optim
    )
    times = Timetable.of(spec, steps_per_epoch=4)
    return with_evaluations(
        speed, spec, times=times, num_images=600.0, num_validation=50, timed=timed
    )


@given(steps_per_epoch=st.integers(1, 40), max_steps=st.integers(1, 300))
def test_passes_are_those_of_the_timetable(steps_per_epoch: int, max_steps: int) -> None:
    spec = make_spec(optim={"max_steps": max_steps, "epochs": 300})
    times = Timetable.of(spec, steps_per_epoch=steps_per_epoch)
    found = with_evaluations(
        UNKNOWN, spec, times=times, num_images=1.0, num_validation=1, timed=()
    ).evaluations
    assert found is not None
    assert found.num_passes == sum(times.evaluates(k) for k in range(1, times.planned_steps + 1))


def test_evaluations_are_those_that_the_like_job_timed() -> None:
    # The newest first, of twice as many images each.
    timed = (
        evaluated("ten_view", 20.0),
        evaluated("centre_crop", 4.0),
        evaluated("centre_crop", 99.0),
    )
    speed = planned(*timed)
    assert speed.evaluations is not None
    counts = speed.evaluations.num_passes, speed.evaluations.num_final_passes
    assert (*counts, speed.evaluations.images_per_pass) == (3, 1, 50)
    assert speed.evaluations.duration_s == pytest.approx(3 * 2.0 + 10.0)
    assert speed.evaluations.basis == "measured in job like"
    assert speed.training_s == 60.0
    assert speed.duration_s == pytest.approx(76.0)


def test_of_another_protocol_the_views_decide() -> None:
    speed = planned(evaluated("ten_view", None), evaluated("centre_crop", 4.0))
    assert speed.evaluations is not None
    assert speed.evaluations.duration_s == pytest.approx(3 * 2.0 + 10 * 2.0)
    assert "by centre_crop, other protocols by their views" in speed.evaluations.basis


def test_where_none_was_timed_forward_is_a_third_of_training() -> None:
    speed = planned(protocol="centre_crop")
    assert speed.evaluations is not None
    assert speed.evaluations.num_final_passes == 0
    # 10 images a second in training are 30 in forward.
    assert speed.evaluations.duration_s == pytest.approx(3 * 50 / 30)
    assert speed.evaluations.basis.startswith("assumed")
    assert speed.duration_s == pytest.approx(60.0 + 5.0)


def test_without_a_rate_passes_are_counted_alone() -> None:
    speed = planned(speed=UNKNOWN)
    assert (speed.duration_s, speed.training_s) == (None, None)
    assert speed.evaluations is not None
    assert (speed.evaluations.num_passes, speed.evaluations.duration_s) == (3, None)
