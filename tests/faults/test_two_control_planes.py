"""Two control planes on one store: the leader is killed, or frozen for longer than its lease."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.acceptance.product import ledger_lines
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials
from tests.integration.service.test_two_control_planes import Answering
from tests.waiting import wait_for
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

KILLED, FROZEN = "the leader of two is killed", "the leader of two is frozen, and thaws"
LEASE_S = 2
# Of 104 steps: longer than it takes to outlast a lease and to start anew.
PACE_S = 0.2


class Unfenced(Answering):
    """Without its fence, and with a clock that stands still."""

    module = "tests.faults.unfenced"


@contextmanager
def two(
    kind: type[Answering], folder: Path, small_jobs: SmallJobs, ray: StandInRay, store_url: str
) -> Iterator[list[Answering]]:
    """Start two with a store and run root in common, and nothing else: the leader first."""
    first, second = (
        kind(
            folder / name,
            small_jobs.data_root,
            ALEXNET_STORE_URL=store_url,
            ALEXNET_RUN_ROOT=str(folder / "runs"),
            ALEXNET_LEASE_S=str(LEASE_S),
            **ray.settings,
        )
        for name in ("first", "second")
    )
    with first.running(), second.running():
        assert (first.role(), second.role()) == ("leader", "standby")
        yield [first, second]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two that share a store, the leader first, and the Ray that both submit to."""

    database: str
    ray: StandInRay
    first: Answering
    second: Answering


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store_url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new store."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    postgres = request.getfixturevalue("postgres")
    try:
        yield postgres.create("two_control_planes")
    finally:
        postgres.drop("two_control_planes")


@pytest.fixture
def pair(database: str, store_url: str, tmp_path: Path, small_jobs: SmallJobs) -> Iterator[Pair]:
    with (
        StandInRay(pace_s=PACE_S) as ray,
        two(Answering, tmp_path, small_jobs, ray, store_url) as (first, second),
    ):
        yield Pair(database=database, ray=ray, first=first, second=second)


def begun(plane: Answering, small_jobs: SmallJobs, folder: Path) -> tuple[str, RunDirectory]:
    """Submit a job, and wait until it is at work."""
    job_id = plane.submit(**small_jobs.request())
    run = RunDirectory(folder / "runs" / job_id)
    wait_for("ten steps", lambda: len(ledger_lines(run.attempt(1).path)) >= 10, timeout_s=60)
    return job_id, run


def check(
    trial: Trial,
    leader: Answering,
    small_jobs: SmallJobs,
    job: tuple[str, RunDirectory],
    ray: StandInRay,
) -> None:
    job_id, run = job
    ended = leader.wait_status(job_id, "SUCCEEDED", timeout_s=90)
    small_jobs.check(trial, job_id, run.path, leader.store_url)
    trial.must(len(ended["attempts"]) == 1, "J", f"it had {len(ended['attempts'])} attempts")
    trial.must(sorted(ray.processes) == [f"{job_id}-1"], "J", f"Ray has {sorted(ray.processes)}")


def test_the_other_leads_on_when_the_leader_is_killed(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, pair: Pair
) -> None:
    first, second = pair.first, pair.second
    with faults.trial("3", f"{KILLED} ({pair.database})") as trial:
        refused = second.http.post("/jobs", json=small_jobs.request())
        trial.must(refused.status_code == 503, "F", f"the standby: HTTP {refused.status_code}")
        job = begun(first, small_jobs, tmp_path)
        trial.strike()
        first.kill()
        wait_for("the second to lead", lambda: second.role() == "leader", timeout_s=60)
        trial.detected()
        told = second.job(job[0])["progress"]

        def hears_more() -> bool:
            return bool(second.job(job[0])["progress"] != told)

        wait_for("the second to hear of it", hears_more, timeout_s=60)
        trial.recovered()
        first.start()
        trial.must(first.role() == "standby", "F", f"the one that was killed is {first.role()}")
        check(trial, second, small_jobs, job, pair.ray)


def freeze_and_thaw(trial: Trial, first: Answering, second: Answering, job_id: str) -> None:
    """Freeze the leader for longer than its lease, and thaw it."""
    trial.strike()
    first.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("the second to lead", lambda: second.role() == "leader", timeout_s=60)
        trial.detected()
        # The frozen one does not answer; it is asked, and does so as its first act.
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(first.http.post, f"/jobs/{job_id}/cancel")
            wait_for("the request to be there", lambda: is_connected(first), timeout_s=60)
            first.process.send_signal(signal.SIGCONT)
            answer = asked.result()
    finally:
        first.process.send_signal(signal.SIGCONT)
    trial.must(answer.status_code == 503, "F", f"it took a request: HTTP {answer.status_code}")
    itself = answer.status_code == 503 and first.url in answer.json()["detail"]
    trial.must(not itself, "F", f"it names itself as the leader: {answer.text}")
    desired = second.job(job_id)["desired"]
    trial.must(desired == "run", "J", f"it has changed what the owner wants: {desired}")
    roles = (first.role(), second.role())
    trial.must(roles == ("standby", "leader"), "F", f"the two are {roles}")


def is_connected(control_plane: Answering) -> bool:
    """Whether somebody has a connection to it, which the kernel takes for a frozen process too."""
    return any(
        one.raddr and one.raddr.port == control_plane.port and one.status == "ESTABLISHED"
        for one in psutil.net_connections("tcp")
    )


def test_a_frozen_leader_that_thaws_stands_by(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, pair: Pair
) -> None:
    first, second = pair.first, pair.second
    with faults.trial("4", f"{FROZEN} ({pair.database})") as trial:
        job = begun(first, small_jobs, tmp_path)
        freeze_and_thaw(trial, first, second, job[0])
        # Both live, and one of them leads: now as before.
        second.kill()
        wait_for("the first to lead again", lambda: first.role() == "leader", timeout_s=60)
        trial.recovered()
        check(trial, first, small_jobs, job, pair.ray)


def test_without_fences_a_frozen_leader_that_thaws_acts_beside_the_other(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    store_url = f"sqlite:///{tmp_path / 'store.db'}"
    with (
        StandInRay(pace_s=PACE_S) as ray,
        two(Unfenced, tmp_path, small_jobs, ray, store_url) as (first, second),
        faults.unguarded("4", f"{FROZEN} (sqlite)") as trial,
    ):
        job_id, _ = begun(first, small_jobs, tmp_path)
        freeze_and_thaw(trial, first, second, job_id)
        assert len(trial.violations) == 3
