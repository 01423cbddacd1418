from dataclasses import replace
from typing import Any

import pytest

from service.jobs.records import JobRecord
from service.store.store import Store
from service.submission.remaining import read_speeds, work_left_s
from service.views.plans import PlannedEvaluations, PlannedSpeed
from tests.unit.service.conftest import job_in, make_spec, progress
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.status import Status

# A step of 128 images takes 2 s; of ten epochs of ten steps each.
RATE = 64.0
SPEC = make_spec(optim={"global_batch_size": 128})
PLANNED = PlannedSpeed(
    images_per_second=RATE,
    training_s=200.0,
    duration_s=320.0,
    evaluations=PlannedEvaluations(
        num_passes=10, num_final_passes=1, images_per_pass=50, duration_s=120.0, basis=""
    ),
    like_job=None,
    basis="",
)


@pytest.fixture
def queued(store: Store) -> JobRecord:
    return job_in(store, Status.QUEUED, "one", spec=SPEC)


def test_before_its_first_step_a_jobs_plan_counts(queued: JobRecord) -> None:
    assert work_left_s(queued, None) is None
    assert work_left_s(queued, PLANNED) == 320.0
    at_0 = replace(queued, status=Status.RUNNING, progress=progress(0, images_per_second=RATE))
    assert work_left_s(at_0, PLANNED) == 320.0


@pytest.mark.parametrize(
    ("step", "last", "left_s"),
    [
        # The first epoch is not over: what the plan has for evaluations is all to come.
        (5, None, 95 * 2.0 + 120.0),
        # Eight are to come, and one by ten views at the end.
        (20, evaluated("centre_crop", 3.0), 80 * 2.0 + 8 * 3.0 + 30.0),
        (100, evaluated("centre_crop", 3.0), 30.0),
        (100, evaluated("ten_view", 30.0), 0.0),
    ],
)
def test_a_job_that_runs_has_steps_and_evaluations_left(
    queued: JobRecord, step: int, last: Any, left_s: float
) -> None:
    runs = replace(
        queued,
        status=Status.RUNNING,
        progress=progress(step, images_per_second=RATE),
        evaluation=last,
    )
    assert work_left_s(runs, PLANNED) == pytest.approx(left_s)
    # While none was timed, and its plan does not know either, nor is the whole known.
    for planned in (None, PLANNED.model_copy(update={"evaluations": None})):
        assert (work_left_s(runs, planned) is None) == (last is None)
    silent = replace(runs, progress=progress(step, images_per_second=0.0))
    assert work_left_s(silent, PLANNED) is None


def test_a_job_that_begins_again_does_so_at_its_checkpoint(queued: JobRecord) -> None:
    waits = replace(
        queued,
        status=Status.RETRYING,
        progress=progress(45, images_per_second=RATE),
        evaluation=evaluated("centre_crop", 3.0),
        checkpoint_step=40,
    )
    assert work_left_s(waits, None) == pytest.approx(60 * 2.0 + 6 * 3.0 + 30.0)
    assert work_left_s(replace(waits, checkpoint_step=None), None) is None
    assert work_left_s(replace(waits, checkpoint_step=None), PLANNED) == 320.0


def test_of_a_calibration_no_end_is_known(queued: JobRecord) -> None:
    spec = make_spec(kind="calibrate", calibration={"seconds": 40.0})
    calibrates = replace(queued, spec=spec)
    assert work_left_s(calibrates, None) is None
    at_5 = progress(5, images_per_second=RATE)
    at_work = replace(calibrates, status=Status.RUNNING, progress=at_5)
    assert work_left_s(at_work, PLANNED) is None


def test_a_plan_that_cannot_be_read_tells_nothing() -> None:
    speeds = {"a": "{}", "b": "[", "c": PLANNED.model_dump_json()}
    assert read_speeds(speeds) == {"c": PLANNED}
