"""The store refuses commits, or commits and does not answer, where a job's life comes to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.kills.shared_service import SharedService
from tests.faults.mortal_service import Failpoint
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials, seeds

pytestmark = pytest.mark.slow

PACE_S = 0.02
# A key whose reservation is stored unknown to who asked for it is in use for minutes: there the
# first of `write` is that which gives it back.
CALLS = {
    "refused": ("write", "submit", "begin_attempt", "note_submitted", "take_report", "apply"),
    "unconfirmed": ("submit", "write", "begin_attempt", "note_submitted", "take_report", "apply"),
}
KINDS = [
    ("refused", "sqlite"),
    ("unconfirmed", "postgresql"),
    ("refused", "postgresql"),
    ("unconfirmed", "sqlite"),
]


def kinds() -> list[tuple[str, str]]:
    """Return what fails, and where, for each trial."""
    return [KINDS[number % len(KINDS)] for number, _ in enumerate(seeds("15", short=2))]


@contextmanager
def store_of(database: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the settings of a control plane with a new store."""
    if database == "sqlite":
        yield {}
        return
    postgres = request.getfixturevalue("postgres")
    try:
        yield {"ALEXNET_STORE_URL": postgres.create("errors")}
    finally:
        postgres.drop("errors")


def see_through(
    trial: Trial, service: SharedService, ray: StandInRay, small_jobs: SmallJobs, moment: str
) -> None:
    service.arm(*(Failpoint("Store", call, moment) for call in CALLS[moment]))
    trial.strike()
    job_id = service.submit(small_jobs.request(), key="the-job")
    left = service.wait_met()
    trial.must(not left, "J", f"not met: {list(map(str, left))}")
    trial.recovered()
    service.wait_over(job_id)
    job = service.job(job_id)
    trial.must(job["status"] == "SUCCEEDED", "J", f"it is {job['status']}: {job['message']}")
    small_jobs.check(trial, job_id, service.run(job_id).path, service.store_url)
    listed = [one["id"] for one in service.get("/jobs")["jobs"]]
    trial.must(listed == [job_id], "J", f"jobs are {listed}")
    known = [one["submission_id"] for one in job["attempts"] if one["submitted_at"]]
    trial.must(known == list(ray.processes), "J", f"Ray was given {list(ray.processes)}")
    trial.must(len(known) == 1, "J", f"it took {known}")
    trial.must(not ray.living(), "Q", f"{ray.living()} live")


@pytest.mark.parametrize("kind", kinds(), ids=" ".join)
def test_a_job_comes_to_the_same_where_its_commits_fail(
    faults: Trials,
    small_jobs: SmallJobs,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: tuple[str, str],
) -> None:
    moment, database = kind
    with (
        StandInRay(pace_s=PACE_S) as ray,
        store_of(database, request) as settings,
    ):
        service = SharedService(tmp_path, small_jobs.data_root, **settings, **ray.settings)
        fault = f"the store leaves commits {moment} ({database})"
        with service.running(), faults.trial("15", fault) as trial:
            see_through(trial, service, ray, small_jobs, moment)
