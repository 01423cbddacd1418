"""What must hold of a job under fire when it is over, and of all of them together."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from service.store.store import Store
from tests.faults.kills.lane import JobUnderFire
from tests.faults.kills.local_cluster import processes_of
from tests.faults.kills.shared_service import SharedService
from tests.faults.trials import Trial
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory

# Ray ends the processes of a job some time after it, and frees what it held.
QUIET_S = 60.0
# What Ray Train leaves, holding nothing: one of the first for each Ray, and one of the second for
# each controller that dies between having made it and having it watch.
_STAY = ("ray::_AutoscalingCoordinatorActor", "ray::PlacementGroupCleaner")
_SHARED = ("psm_", "sem.mp-", "torch_", "plasma", "ray")


def check_job(service: SharedService, job: JobUnderFire) -> None:
    """Note what is wrong with a job that is over, with the last kill that it suffered."""
    trial = job.trials[-1] if job.trials else Trial("5", "nothing was killed")
    record, run = service.job(job.id), service.run(job.id)
    trial.must(record["status"] == "SUCCEEDED", "J", f"{record['status']}: {record['message']}")
    if record["status"] != "SUCCEEDED":
        return
    trial.steps_redone = 0
    job.kind.check(trial, job.id, run.path, service.store_url)
    _check_attempts(trial, service, job.id)
    damaged = latest_checkpoint(run).damaged
    trial.must(not damaged, "C", f"damaged: {damaged}")
    _check_left(trial, run)


def _check_attempts(trial: Trial, service: SharedService, job_id: str) -> None:
    """Each attempt has one submission in Ray at most, and Ray has none beside; they take turns."""
    store = Store(service.store_url)
    try:
        attempts = store.attempts(job_id)
        told = [one.attempt for one in store.events(job_id, limit=100_000) if one.attempt]
    finally:
        store.close()
    submitted = {one.submission_id for one in attempts if one.submitted_at is not None}
    known = Counter(
        one for one in service.cluster.submissions() if one.rpartition("-")[0] == job_id
    )
    trial.must(known.keys() <= submitted, "J", f"Ray knows {known}, the store {submitted}")
    trial.must(all(number == 1 for number in known.values()), "J", f"Ray knows {known}")
    trial.must(told == sorted(told), "F", f"events came of attempts {told}")


def _check_left(trial: Trial, run: RunDirectory) -> None:
    aside = sorted(map(str, run.path.rglob("*.partial")))
    trial.must(not aside, "Q", f"half-written: {aside}")
    left = _left(lambda: [str(one) for one in processes_of(run.path)])
    trial.must(not left, "Q", f"processes live: {left}")


def check_end(
    service: SharedService, jobs: Sequence[JobUnderFire], trial: Trial, shm_before: set[str]
) -> None:
    """Note what is wrong with all jobs together, when all are over."""
    listed = [
        job["id"]
        for page in _pages(service)
        for job in page["jobs"]
        if not job["name"].startswith("undisturbed")
    ]
    trial.must(Counter(listed) == Counter(job.id for job in jobs), "J", f"there are {listed}")
    live = _left(service.cluster.live_submissions)
    trial.must(not live, "Q", f"live in Ray: {live}")
    held = _left(
        lambda: [held for node in service.get("/cluster")["nodes"] for held in node["held"]]
    )
    trial.must(not held, "Q", f"held in Ray: {held}")
    forks = _left(
        lambda: [one for one in service.cluster.forks() if not any(stay in one for stay in _STAY)]
    )
    trial.must(not forks, "Q", f"forks of the warm process live: {forks}")
    named = _left(lambda: shared_memory() - shm_before)
    trial.must(not named, "Q", f"in shared memory: {named}")
    for job in jobs:
        grown = job.sizes.items() ^ sizes(service.run(job.id).path).items()
        trial.must(not grown, "Q", f"files change after the end: {sorted(grown)}")


def sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder."""
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def shared_memory() -> set[str]:
    """Return the names in shared memory that Python, torch or Ray would give."""
    folder = Path("/dev/shm")
    return {path.name for prefix in _SHARED for path in folder.glob(f"{prefix}*")}


def _pages(service: SharedService) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = service.get(f"/jobs?limit=100{cursor}")
        yield page
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _left(probe: Callable[[], Collection[object]]) -> Collection[object]:
    """Return what is still there after a while."""
    over_s = time.monotonic() + QUIET_S
    while (found := probe()) and time.monotonic() < over_s:
        time.sleep(0.5)
    return found
