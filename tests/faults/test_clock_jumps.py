"""The machine's clock is set an hour forward or back beneath a service at work and its attempts."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from service.store.leases import read_lease
from service.store.store import Store
from tests.acceptance.product import ControlPlane
from tests.faults.jumping_clock import LIBRARY, JumpingClock
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials
from tests.integration.service.test_two_control_planes import Answering
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

HOUR_S = 3600
DIRECTIONS = {HOUR_S: "forward", -HOUR_S: "back"}
# Longer than a lease, and than many ticks.
WATCHED_S = 7.0
PACE_S = 0.12
_SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def libfaketime() -> Iterator[None]:
    if LIBRARY is None:
        missing = "libfaketime is not installed (Debian: apt install libfaketime)"
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    before = set(_SHARED_MEMORY.glob("*faketime_*"))
    yield
    # Processes that are killed leave what it shares with their children.
    for path in set(_SHARED_MEMORY.glob("*faketime_*")) - before:
        path.unlink(missing_ok=True)


class Jumping(ControlPlane):
    module = "tests.faults.jumping_clock"


class GoingByTheWall(Jumping):
    module = "tests.faults.wall_clock"


@dataclass(frozen=True)
class Scene:
    """A leader whose clock jumps, and its attempts' with it; who stands by has another clock."""

    clock: JumpingClock
    ray: StandInRay
    leader: ControlPlane
    standby: ControlPlane

    def fence(self) -> int:
        """Return the fence of whoever leads."""
        store = Store(self.leader.store_url)
        try:
            lease = store.read(read_lease)
        finally:
            store.close()
        assert lease is not None
        return lease.fence


@contextmanager
def scene(kind: type[Jumping], folder: Path, small_jobs: SmallJobs) -> Iterator[Scene]:
    clock = JumpingClock(folder / "clock")
    with StandInRay(pace_s=PACE_S, module=Jumping.module, environment=clock.environment) as ray:
        state, root = folder / "state", small_jobs.data_root
        leader = kind(state, root, **ray.settings, **clock.environment)
        standby = Answering(state, root, **ray.settings)
        with leader.running(), standby.running():
            yield Scene(clock, ray, leader, standby)


def _progress_of(plane: ControlPlane, job_id: str) -> dict[str, Any] | None:
    progress: dict[str, Any] | None = plane.job(job_id)["progress"]
    return progress


def see_through(trial: Trial, scene: Scene, small_jobs: SmallJobs, jump_s: int) -> None:
    plane = scene.leader
    # A jump forward must not bring on what is far away, nor one back put off what is near.
    backoff_s = 600.0 if jump_s > 0 else WATCHED_S / 2
    retry = {"backoff_s": backoff_s, "max_backoff_s": backoff_s}
    works = plane.submit(**small_jobs.request(retry={"deadline_s": HOUR_S / 2}))
    # Of a higher priority, so that it does not wait behind the one that is too large.
    fails = plane.submit(**small_jobs.request(name="fails", priority=10, retry=retry))
    waits = plane.submit(**small_jobs.request(name="waits", scale={"cpus_per_replica": 2}))
    for job_id in (works, fails):
        wait_for("steps", partial(_progress_of, plane, job_id), timeout_s=60)
    scene.ray.processes[f"{fails}-1"].kill()
    plane.wait_status(fails, "RETRYING")
    fence, told = scene.fence(), plane.job(works)["progress"]["step"]

    scene.clock.set(jump_s)
    trial.strike()
    begun = time.monotonic()
    while time.monotonic() - begun < WATCHED_S:
        if trial.detect_s is None and "clock was set" in plane.log.read_text():
            trial.detected()
        if trial.recover_s is None and plane.job(works)["progress"]["step"] > told:
            trial.recovered()
        roles = [one.http.get("/readyz").json()["role"] for one in (plane, scene.standby)]
        trial.must(roles == ["leader", "standby"], "F", f"they are {roles}")
        time.sleep(0.2)
    trial.must(scene.fence() == fence, "F", "the lease was taken anew")
    job = plane.job(works)
    trial.must(job["status"] == "RUNNING", "J", f"it is {job['status']}: {job['message']}")
    attempts = len(plane.job(fails)["attempts"])
    expected = 1 if jump_s > 0 else 2
    trial.must(attempts == expected, "J", f"{attempts} attempts, not {expected}, of a retry")
    queue = plane.http.get("/cluster").json()["queue"]
    priorities = [one["effective_priority"] for one in queue if one["job_id"] == waits]
    aged = [one for one in priorities if not 0 <= one < 0.1]
    trial.must(not aged, "J", f"who waits for seconds has priority {aged}")
    for job_id in (waits, fails):
        plane.http.post(f"/jobs/{job_id}/cancel").raise_for_status()

    plane.wait_status(works, "SUCCEEDED", timeout_s=60)
    run = plane.run_directory(works)
    small_jobs.check(trial, works, run, plane.store_url)
    check_times(trial, plane.events(works), time.monotonic() - begun)


def check_times(trial: Trial, events: list[dict[str, Any]], since_jump_s: float) -> None:
    """Note where statuses are not told in order, or by a time that the jump is in."""
    at = [datetime.fromisoformat(one["at"]) for one in events if one["data"]["kind"] == "status"]
    trial.must(all(a <= b for a, b in pairwise(at)), "J", f"statuses come at {at}")
    took_s = (at[-1] - at[0]).total_seconds()
    trial.must(0 < took_s < since_jump_s + 60, "J", f"the job took {took_s:.0f} s")


@pytest.mark.parametrize("jump_s", DIRECTIONS)
def test_a_jump_of_the_clock_ends_nothing_and_begins_nothing(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, jump_s: int
) -> None:
    with (
        scene(Jumping, tmp_path, small_jobs) as jumping,
        faults.trial("16", f"the clock is set an hour {DIRECTIONS[jump_s]}") as trial,
    ):
        see_through(trial, jumping, small_jobs, jump_s)


def test_one_that_goes_by_it_misses_deadlines_and_leases(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with (
        scene(GoingByTheWall, tmp_path, small_jobs) as going_by_it,
        faults.unguarded("16", "the clock is set an hour forward") as trial,
    ):
        # It fails the job, so that there is no success to wait for.
        with pytest.raises(AssertionError, match=r"retry\.deadline_s"):
            see_through(trial, going_by_it, small_jobs, HOUR_S)
        assert {violation[0] for violation in trial.violations} >= {"J", "F"}
