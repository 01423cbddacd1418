"""A job that always crashes is given up after the attempts it has, with the reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.product import ControlPlane
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials, seeds

pytestmark = pytest.mark.slow

FAULT = "a job always crashes"
MAX_ATTEMPTS = 3
RETRY = {"max_attempts": MAX_ATTEMPTS, "backoff_s": 0.1, "max_backoff_s": 0.1}
Running = tuple[ControlPlane, StandInRay]


class Patient(ControlPlane):
    module = "tests.faults.patient_service"


@contextmanager
def running(kind: type[ControlPlane], folder: Path, small_jobs: SmallJobs) -> Iterator[Running]:
    with StandInRay(module="tests.faults.doomed_attempt") as ray:
        plane = kind(folder / "state", small_jobs.data_root, **ray.settings)
        with plane.running():
            yield plane, ray


@pytest.fixture(scope="module")
def counting(small_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(ControlPlane, tmp_path_factory.mktemp("poison"), small_jobs) as counting:
        yield counting


def see_through(trial: Trial, running: Running, small_jobs: SmallJobs) -> None:
    plane, ray = running
    trial.strike()
    job_id = plane.submit(**small_jobs.request(name="poison", retry=RETRY))
    job = plane.wait_status(job_id, "FAILED", "SUCCEEDED", "RETRYING", timeout_s=60)
    while job["status"] != "FAILED" and len(job["attempts"]) <= MAX_ATTEMPTS:
        job = plane.wait_status(job_id, "FAILED", "RETRYING", "RUNNING", "STARTING", timeout_s=60)
    trial.detected()
    num_attempts = len(job["attempts"])
    trial.must(num_attempts == MAX_ATTEMPTS, "J", f"it had {num_attempts} attempts")
    trial.must(job["reason"] == "crashed", "J", f"the reason is {job['reason']}")
    gave_up = f"gave up after {MAX_ATTEMPTS} failed attempts in a row"
    trial.must(gave_up in (job["message"] or ""), "J", f"it is told that {job['message']}")
    submitted = [name for name in ray.processes if name.startswith(job_id)]
    trial.must(len(submitted) == MAX_ATTEMPTS, "J", f"Ray was given {submitted}")
    left = [name for name in ray.living() if name.startswith(job_id)]
    trial.must(not left, "Q", f"{left} live")
    partial = sorted(map(str, plane.run_directory(job_id).rglob("*.partial")))
    trial.must(not partial, "Q", f"half-written: {partial}")


@pytest.mark.parametrize("seed", seeds("21"))
def test_it_is_given_up(
    faults: Trials, counting: Running, small_jobs: SmallJobs, seed: int
) -> None:
    with faults.trial("21", FAULT, seed=seed) as trial:
        see_through(trial, counting, small_jobs)


def test_where_failures_are_not_counted_it_never_is(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with (
        running(Patient, tmp_path, small_jobs) as patient,
        faults.unguarded("21", FAULT) as trial,
    ):
        see_through(trial, patient, small_jobs)
