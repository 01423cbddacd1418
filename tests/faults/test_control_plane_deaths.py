"""The control plane dies around what it commits and what it asks of Ray; the next one goes on."""

import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.product import ControlPlane, ledger_lines
from tests.faults.mortal_service import FAILPOINT_VARIABLE, FAILPOINTS, Failpoint, arm
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import SEED, Trial, Trials, seeds
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

FAULT = "the control plane dies around a commit, or a submission"
PACE_S = 0.02


def points() -> list[Failpoint]:
    """Return a failpoint for each trial, in an order of their own: all of them in 20 trials."""
    order = random.Random(SEED).sample(FAILPOINTS, len(FAILPOINTS))
    return [order[number % len(order)] for number, _ in enumerate(seeds("1", short=5))]


class Mortal(ControlPlane):
    module = "tests.faults.mortal_service"


class Forgetful(ControlPlane):
    module = "tests.faults.forgetful_service"


def submitted(plane: ControlPlane, request: dict[str, Any]) -> str | None:
    """Submit a job, always the same; return its number, or None where nobody answers."""
    try:
        answer = plane.http.post("/jobs", json=request, headers={"Idempotency-Key": "the-job"})
    except httpx.TransportError:
        return None
    return str(answer.raise_for_status().json()["id"])


def die_and_go_on(
    trial: Trial, plane: ControlPlane, ray: StandInRay, small_jobs: SmallJobs, failpoint: Path
) -> str:
    """Submit a job to a control plane that dies of it, and to the next; return its number."""
    request = small_jobs.request()
    first = submitted(plane, request)
    plane.process.wait(30)
    trial.strike()
    assert not failpoint.exists()
    plane.start()
    job_id = submitted(plane, request)
    assert job_id is not None
    trial.must(first in (None, job_id), "J", f"what was accepted as {first} is {job_id} now")
    attempts = plane.run_directory(job_id) / "attempts"
    wait_for(
        "a step",
        lambda: any(ledger_lines(folder) for folder in attempts.glob("*")),
        timeout_s=60,
    )
    trial.recovered()
    listed = [job["id"] for job in plane.http.get("/jobs").raise_for_status().json()["jobs"]]
    trial.must(listed == [job_id], "J", f"jobs are {listed}")
    trial.must(len(ray.processes) == 1, "J", f"Ray was given {sorted(ray.processes)}")
    return job_id


def see_through(
    trial: Trial, plane: ControlPlane, ray: StandInRay, small_jobs: SmallJobs, failpoint: Path
) -> None:
    job_id = die_and_go_on(trial, plane, ray, small_jobs, failpoint)
    job = plane.wait_status(job_id, "SUCCEEDED", timeout_s=60)
    small_jobs.check(trial, job_id, plane.run_directory(job_id), plane.store_url)
    known = [one["submission_id"] for one in job["attempts"] if one["submitted_at"]]
    trial.must(known == sorted(ray.processes), "J", f"the store knows {known}")
    trial.must(not ray.living(), "Q", f"{ray.living()} live")


@pytest.mark.parametrize("point", points(), ids=str)
def test_the_next_one_goes_on_where_a_control_plane_died(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, point: Failpoint
) -> None:
    file = tmp_path / "failpoint"
    with StandInRay(pace_s=PACE_S) as ray:
        settings = {**ray.settings, FAILPOINT_VARIABLE: str(file)}
        plane = Mortal(tmp_path / "state", small_jobs.data_root, **settings)
        with plane.running(), faults.trial("1", FAULT) as trial:
            arm(file, point)
            see_through(trial, plane, ray, small_jobs, file)


def test_where_submissions_have_other_names_each_time_a_second_attempt_runs(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    file = tmp_path / "failpoint"
    with StandInRay(pace_s=PACE_S) as ray:
        settings = {**ray.settings, FAILPOINT_VARIABLE: str(file)}
        plane = Forgetful(tmp_path / "state", small_jobs.data_root, **settings)
        with plane.running(), faults.unguarded("1", FAULT) as trial:
            arm(file, Failpoint("RayJobs", "submit", "after"))
            die_and_go_on(trial, plane, ray, small_jobs, file)
