from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from service.terminal.plan_table import plan_table
from service.views.plans import (
    JobAhead,
    Plan,
    PlannedDevice,
    PlannedEvaluations,
    PlannedJob,
    PlannedNetwork,
    PlannedSpeed,
    PlannedStart,
    StartEstimate,
)
from tests.unit.service.conftest import make_spec
from trainer.contract.status import Status

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)


def lines(
    *,
    estimate: StartEstimate | None = None,
    fits: bool | None = True,
    speed: PlannedSpeed | None = None,
    ahead: tuple[JobAhead, ...] = (),
    num_ahead: int = 0,
) -> str:
    device = PlannedDevice(
        number=0, parts=(), total_bytes=1, capacity_bytes=1, fits=fits, capacity_basis="16 GB of T4"
    )
    network = PlannedNetwork(
        parameters=1,
        multiply_adds_per_image=1,
        exchanged_bytes_per_image=1,
        micro_batch_size=1,
        devices=(device,),
    )
    plan = Plan(
        steps=1,
        steps_per_epoch=1,
        epochs=1,
        num_samples=1,
        network=network,
        shards=(),
        speed=speed
        or PlannedSpeed(images_per_second=None, duration_s=None, like_job=None, basis="why"),
        start=PlannedStart(
            when="waits",
            message="needs",
            accelerator="cpu",
            ahead=ahead,
            num_ahead=num_ahead,
            estimate=estimate,
        ),
    )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(plan_table(PlannedJob(spec=make_spec(), plan=plan)))
    return captured.get()


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"at": AT, "in_s": 90.0}, "2026-01-02 03:04:05 UTC, in 0:01:30; a basis"),
        (
            {"earliest_at": AT, "latest_at": LATER},
            "at the earliest 2026-01-02 03:04:05 UTC, at the latest 2026-01-02 04:04:05 UTC; ",
        ),
        ({"earliest_at": AT}, "at the earliest 2026-01-02 03:04:05 UTC; a basis"),
        ({}, "not known; a basis"),
    ],
)
def test_when_a_job_starts_is_told_as_far_as_it_is_known(times: dict[str, Any], said: str) -> None:
    estimate = StartEstimate(**{"at": None, "in_s": None, "basis": "a basis"} | times)
    assert said in lines(estimate=estimate)


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        (True, "fits: 16 GB of T4"),
        (False, "DOES NOT FIT: 16 GB of T4"),
        (None, "not known whether it fits: 16 GB of T4"),
    ],
)
def test_a_device_that_is_too_small_is_warned_of(fits: bool | None, said: str) -> None:
    assert said in lines(fits=fits)


def test_training_and_evaluations_are_told_apart() -> None:
    evaluations = PlannedEvaluations(
        num_passes=3, num_final_passes=1, images_per_pass=1000, duration_s=30.0, basis="assumed"
    )
    speed = PlannedSpeed(
        images_per_second=10.0,
        training_s=60.0,
        duration_s=90.0,
        evaluations=evaluations,
        like_job="like",
        basis="measured",
    )
    told = lines(speed=speed)
    assert "10 images/s, 0:01:00 of training; measured" in told
    assert "3 by the centre crop, 1 by ten views, of 1,000 images: 0:00:30; assumed" in told
    assert "0:01:30 with evaluations" in told
    # A plan of release 0.1 has training alone.
    old = speed.model_copy(update={"training_s": None, "evaluations": None, "duration_s": 60.0})
    told = lines(speed=old)
    assert "0:01:00 of training" in told
    assert "with evaluations" not in told


def test_of_jobs_before_it_the_first_are_told_and_the_others_counted() -> None:
    ahead = (JobAhead(id=None, status=Status.RUNNING, seconds_left=None),)
    told = lines(ahead=ahead, num_ahead=1201)
    assert "behind a private job, RUNNING" in told
    assert "behind 1,200 more" in told
    assert "more" not in lines(ahead=ahead, num_ahead=1)
    assert "more" not in lines(ahead=ahead)
