"""The store is locked, or killed and started again: training goes on, and nothing is lost."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.product import ControlPlane, ledger_lines
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials
from tests.integration.service.test_two_control_planes import Answering
from tests.postgres import running_postgres
from tests.unit.service.databases import written_by_another
from tests.waiting import wait_for
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

OUTAGE_S = 60.0
# Of 104 steps, most of which are done while the store is away.
PACE_S = 0.65
# A write waits for a lock, and for its turn behind another that waits.
LONGEST_ANSWER_S = 15.0


@contextmanager
def service(folder: Path, small_jobs: SmallJobs, **settings: str) -> Iterator[list[ControlPlane]]:
    """Start two control planes on one state directory, the leader first."""
    with StandInRay(pace_s=PACE_S) as ray:
        leader, standby = (
            kind(folder / "state", small_jobs.data_root, **settings, **ray.settings)
            for kind in (ControlPlane, Answering)
        )
        with leader.running(), standby.running():
            yield [leader, standby]


def refusal(trial: Trial, asked: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask, and note what is wrong with how it is refused."""
    begun = time.monotonic()
    answer = asked()
    took_s = time.monotonic() - begun
    trial.must(took_s < LONGEST_ANSWER_S, "J", f"an answer took {took_s:.0f} s")
    if answer.is_success:
        return answer
    trial.must(answer.status_code == 503, "J", f"HTTP {answer.status_code}: {answer.text[:200]}")
    trial.must(answer.headers.get("Retry-After"), "J", "nobody is told when to ask again")
    return answer


def see_through_outage(
    trial: Trial,
    planes: list[ControlPlane],
    small_jobs: SmallJobs,
    outage: Callable[[], AbstractContextManager[object]],
) -> None:
    plane = planes[0]
    job_id = plane.submit(**small_jobs.request())
    run = RunDirectory(plane.run_directory(job_id))

    def steps() -> int:
        return len(ledger_lines(run.attempt(1).path))

    wait_for("a report", lambda: (plane.job(job_id)["progress"] or {}).get("step"), timeout_s=60)
    told = plane.job(job_id)["progress"]["step"]
    at_strike = steps()
    trial.strike()
    request, key = small_jobs.request(name="late"), {"Idempotency-Key": "late"}

    def submit_late(to: ControlPlane) -> httpx.Response:
        return refusal(trial, lambda: to.http.post("/jobs", json=request, headers=key))

    with outage():
        over_s = time.monotonic() + OUTAGE_S
        while time.monotonic() < over_s:
            answer = submit_late(plane)
            trial.must(not answer.is_success, "J", f"without a store it took {answer.text[:80]}")
            if trial.detect_s is None:
                trial.detected()
            refusal(trial, lambda: plane.http.get("/jobs"))
            time.sleep(0.5)
        trained = steps() - at_strike
        trial.must(trained > OUTAGE_S / PACE_S / 3, "J", f"meanwhile {trained} steps were done")
    wait_for("another report", lambda: plane.job(job_id)["progress"]["step"] > told, timeout_s=60)
    trial.recovered()
    # Whoever was faster leads now.
    leader = wait_for("a leader", lambda: leader_of(planes), timeout_s=60)
    late = dict(submit_late(leader).raise_for_status().json())
    leader.http.post(f"/jobs/{late['id']}/cancel").raise_for_status()
    # It was sent many times, and is one job.
    jobs = leader.http.get("/jobs").raise_for_status().json()["jobs"]
    named = [one["id"] for one in jobs if one["name"] == "late"]
    trial.must(named == [late["id"]], "J", f"the late one is {named}")
    leader.wait_status(job_id, "SUCCEEDED", timeout_s=120)
    small_jobs.check(trial, job_id, run.path, plane.store_url)
    attempts = leader.job(job_id)["attempts"]
    trial.must(len(attempts) == 1, "J", f"it took {len(attempts)} attempts")
    roles = sorted(map(role, planes))
    trial.must(roles == ["leader", "standby"], "F", f"there are {roles}")


def role(plane: ControlPlane) -> str:
    return str(plane.http.get("/readyz").json()["role"])


def leader_of(planes: list[ControlPlane]) -> ControlPlane | None:
    return next((plane for plane in planes if role(plane) == "leader"), None)


def lock(faults: Trials, small_jobs: SmallJobs, folder: Path) -> None:
    with (
        service(folder, small_jobs) as planes,
        faults.trial("15", f"the store is locked for {OUTAGE_S:.0f} s (SQLite)") as trial,
    ):
        see_through_outage(
            trial, planes, small_jobs, lambda: written_by_another(planes[0].store_url)
        )


def kill(faults: Trials, small_jobs: SmallJobs, folder: Path) -> None:
    # Of its own, which writes through: what it has committed outlives it.
    with running_postgres(durable=True) as postgres:

        @contextmanager
        def outage() -> Iterator[None]:
            postgres.kill()
            try:
                yield
            finally:
                postgres.start()

        url = postgres.create("killed")
        with (
            service(folder, small_jobs, ALEXNET_STORE_URL=url) as planes,
            faults.trial("15", f"PostgreSQL is killed for {OUTAGE_S:.0f} s") as trial,
        ):
            see_through_outage(trial, planes, small_jobs, outage)


@pytest.fixture(scope="module")
def outages(
    faults: Trials, small_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """All at the same time, each in a thread: they do little but wait."""
    # It is trained once, and before they begin.
    assert small_jobs.undisturbed
    with ThreadPoolExecutor() as pool:
        yield {
            outage.__name__: pool.submit(
                outage, faults, small_jobs, tmp_path_factory.mktemp(outage.__name__)
            )
            for outage in (lock, kill)
        }


def test_a_locked_store_is_waited_for(outages: dict[str, Future[None]]) -> None:
    outages["lock"].result()


def test_a_store_that_is_killed_is_waited_for(outages: dict[str, Future[None]]) -> None:
    outages["kill"].result()
