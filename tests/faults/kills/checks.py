"""What must hold of a job under fire when it is over, and of all of them together."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from service.jobs.records import AttemptRecord
from service.store.store import Store
from tests.faults.kills.local_cluster import processes_of
from tests.faults.kills.roles import Role
from tests.faults.kills.shared_service import SharedService
from tests.faults.kills.watch import JobUnderFire
from tests.faults.trials import Trial
from trainer.contract.attempt import Reason
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory

# Ray ends the processes of a job some time after it, and frees what it held; what it forgets to
# free, the service has removed a minute later.
QUIET_S = 120.0
# What Ray Train leaves, holding nothing: one of the first for each Ray, and one of the second for
# each controller that dies between having made it and having it watch.
_COORDINATOR, _CLEANER = "ray::_AutoscalingCoordinatorActor", "ray::PlacementGroupCleaner"
_CONTROLLER_DIES = {Role.CONTROLLER, Role.STARTING}
_SHARED = ("psm_", "sem.mp-", "torch_", "plasma", "ray")


def check_job(service: SharedService, job: JobUnderFire) -> None:
    """Note what is wrong with a job that is over, with the last kill that it suffered."""
    trial = job.trials[-1] if job.trials else Trial("5", "nothing of a job was killed")
    _check_done(trial, service, job)
    if trial.violations and not job.trials:
        job.trials.append(trial)


def _check_done(trial: Trial, service: SharedService, job: JobUnderFire) -> None:
    record, run = service.job(job.id), service.run(job.id)
    trial.must(record["status"] == "SUCCEEDED", "J", f"{record['status']}: {record['message']}")
    if record["status"] != "SUCCEEDED":
        return
    trial.steps_redone = 0
    job.kind.check(trial, job.id, run.path, service.store_url)
    _check_attempts(trial, service, job)
    damaged = latest_checkpoint(run).damaged
    trial.must(not damaged, "C", f"damaged: {damaged}")
    _check_left(trial, run)


def _check_attempts(trial: Trial, service: SharedService, job: JobUnderFire) -> None:
    """Each that failed was struck; Ray knows of no others than the store; they took turns."""
    job_id = job.id
    store = Store(service.store_url)
    try:
        attempts = store.attempts(job_id)
        told = [one.attempt for one in store.events(job_id, limit=100_000) if one.attempt]
    finally:
        store.close()
    found = unexplained(attempts, job.struck, service.num_restarts)
    trial.must(not found, "J", f"nothing was done to {found}")
    submitted = {one.submission_id for one in attempts if one.submitted_at is not None}
    known = {one for one in service.cluster.submissions() if one.rpartition("-")[0] == job_id}
    trial.must(known <= submitted, "J", f"Ray knows {known}, the store {submitted}")
    trial.must(told == sorted(told), "F", f"events came of attempts {told}")


def unexplained(
    attempts: Sequence[AttemptRecord], struck: Collection[int], num_restarts: int
) -> list[str]:
    """Name the attempts that did not end, or failed though nobody struck them.

    A service that was stopped with its Ray, `num_restarts` times, has interrupted as many at most.
    """
    found, interrupted = [], []
    for one in attempts:
        reason = None if one.outcome is None else one.outcome.reason
        if one.ended_at is None:
            found.append(f"{one.number}: has not ended")
        elif reason is Reason.INTERRUPTED and one.number not in struck:
            interrupted.append(f"{one.number}: {reason}")
        elif reason is not None and one.number not in struck:
            found.append(f"{one.number}: {reason}")
    return found + interrupted[num_restarts:]


def overlapping(attempts: Sequence[AttemptRecord]) -> list[str]:
    """Name the attempts that began before the one before them had ended."""
    in_order = sorted(attempts, key=lambda one: one.created_at)
    return [
        following.submission_id
        for one, following in pairwise(in_order)
        if one.ended_at is None or one.ended_at > following.created_at
    ]


def leaked(forks: Sequence[str], num_controllers: int) -> list[str]:
    """Return those processes that nothing allows to stay after so many deaths of controllers."""
    cleaners = [one for one in forks if _CLEANER in one]
    others = [one for one in forks if _CLEANER not in one and _COORDINATOR not in one]
    return others + cleaners[num_controllers:]


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
    struck = [trial.fault for job in jobs for trial in job.trials]
    num_controllers = sum(struck.count(role) for role in _CONTROLLER_DIES)
    forks = _left(lambda: leaked(list(service.cluster.forks()), num_controllers))
    trial.must(not forks, "Q", f"forks of the warm process live: {forks}")
    # What runs beside these tests has names too, but not for as long.
    now = shared_memory() - shm_before
    named = _left(lambda: now & shared_memory())
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
