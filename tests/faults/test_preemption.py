"""A job makes room for one of higher priority, while processes die and commits fail."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import pytest

from service.jobs.events import StatusChanged
from service.store.store import Store
from tests.acceptance.product import ledger_lines
from tests.faults.kills.checks import overlapping, unexplained
from tests.faults.kills.shared_service import PATIENCE_S, SharedService
from tests.faults.mortal_service import Failpoint
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials, seeds
from tests.waiting import wait_for
from trainer.contract.status import Desired, Status

pytestmark = pytest.mark.slow

FAULT = "one makes room: it dies twice, and the control plane or a commit fails twice"
PACE_S = 0.02
# So that none is saved before that of the pause.
SELDOM = {"interval_steps": 10_000}
# What saving one does to the disk at least.
NUM_WRITES = 12

_MOMENTS = ("before", "within", "after", "refused", "unconfirmed")
# In the order in which a preemption comes to them: one is asked to pause, and the other begins.
ASKING = [
    Failpoint("Store", call, moment)
    for call in ("write note_waits", "write make_room", "apply")
    for moment in _MOMENTS
]
BEGINNING = [
    *(
        Failpoint("Store", call, moment)
        for call in ("begin_attempt", "note_submitted")
        for moment in _MOMENTS
    ),
    *(Failpoint("RayJobs", "submit", moment) for moment in ("before", "after")),
]


class Death(StrEnum):
    """Which attempt dies, and when."""

    SAVING = "as it saves the checkpoint of its pause"
    PAUSING = "as it is told to pause"
    URGENT = "as the other starts"
    BACK = "as it comes back"


# As a job's life comes to them.
DEATHS = [(Death.SAVING, Death.BACK), (Death.PAUSING, Death.URGENT)]


def trials() -> list[tuple[tuple[Death, Death], int]]:
    """Return who dies in each, and a seed for the rest: everybody in two trials."""
    drawn = enumerate(seeds("preemption", short=len(DEATHS)))
    return [(DEATHS[number % len(DEATHS)], seed) for number, seed in drawn]


@dataclass(frozen=True)
class Scene:
    """A control plane and a cluster of one device."""

    service: SharedService
    ray: StandInRay

    def submissions(self, job_id: str) -> list[str]:
        """Return what Ray was given of a job, in order."""
        return [name for name in list(self.ray.processes) if name.rpartition("-")[0] == job_id]

    def kill(self, submission: str) -> list[str]:
        """Kill an attempt; return it, if it lived."""
        process = self.ray.processes[submission]
        if process.poll() is not None:
            return []
        process.kill()
        return [submission]


@pytest.fixture(scope="module")
def scene(small_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("preemption")
    with StandInRay(pace_s=PACE_S, module="tests.faults.doomed_attempt", num_cpus=1) as ray:
        settings = {**ray.settings, "ALEXNET_PREEMPTION": "true"}
        service = SharedService(folder, small_jobs.data_root, **settings)
        with service.running():
            yield Scene(service, ray)


def preempt(
    trial: Trial, scene: Scene, small_jobs: SmallJobs, name: str, *points: Failpoint
) -> tuple[str, str]:
    """Have a job at work asked to make room for another; return both."""
    service = scene.service
    low = service.submit(small_jobs.request(name=name, checkpoint=SELDOM), key=f"low-{trial.seed}")

    def works() -> bool:
        job = service.job(low)
        return job["status"] == "RUNNING" and bool(job["progress"])

    wait_for("a step", works, timeout_s=60)
    service.arm(*points)
    trial.strike()
    return low, service.submit(
        small_jobs.request(name="urgent", priority=1), key=f"urgent-{trial.seed}"
    )


def strike(scene: Scene, death: Death, jobs: tuple[str, str], draw: random.Random) -> list[str]:
    """Kill whoever is to die; return what was struck."""
    low, urgent = jobs

    def newest(job_id: str, before: int) -> str | None:
        return next(iter(scene.submissions(job_id)[before:]), None)

    match death:
        case Death.SAVING:
            first = newest(low, 0)
            assert first is not None
            ended = scene.ray.processes[first].wait(PATIENCE_S)
            assert ended == -9, f"it ended with {ended} before it was to die"
            return [first]
        case Death.PAUSING:
            wait_for(
                "the pause", lambda: scene.service.job(low)["status"] != "RUNNING", timeout_s=60
            )
            return scene.kill(scene.submissions(low)[0])
        case Death.URGENT:
            find = partial(newest, urgent, 0)
        case Death.BACK:
            find = partial(newest, low, 1)
    found = wait_for("the one to die", find, timeout_s=PATIENCE_S)
    time.sleep(draw.uniform(0, 3))
    return scene.kill(found)


def see_end(
    trial: Trial, scene: Scene, small_jobs: SmallJobs, jobs: tuple[str, str], *, struck: list[str]
) -> None:
    """Wait for both, and note what is wrong."""
    service, (low, urgent) = scene.service, jobs
    service.wait_over(urgent)
    trial.detected()
    attempts = service.run(low).path / "attempts"
    wait_for(
        "a step of what comes back",
        lambda: sum(bool(ledger_lines(folder)) for folder in attempts.glob("*")) > 1,
        timeout_s=PATIENCE_S,
    )
    trial.recovered()
    service.wait_over(low)
    for job_id in jobs:
        job, run = service.job(job_id), service.run(job_id).path
        trial.must(job["status"] == "SUCCEEDED", "J", f"{job['status']}: {job['message']}")
        small_jobs.check(trial, job_id, run, service.store_url)
        aside = sorted(map(str, run.rglob("*.partial")))
        trial.must(not aside, "Q", f"half-written: {aside}")
        given = scene.submissions(job_id)
        known = [one["submission_id"] for one in job["attempts"] if one["submitted_at"]]
        trial.must(known == given, "J", f"Ray was given {given}, the store knows {known}")
    trial.must(not scene.ray.living(), "Q", f"{scene.ray.living()} live")
    store = Store(service.store_url)
    try:
        beside = overlapping([*store.attempts(low), *store.attempts(urgent)])
        trial.must(not beside, "J", f"at work beside the one before: {beside}")
        for job_id in jobs:
            numbers = [int(one.rpartition("-")[2]) for one in struck if one.startswith(job_id)]
            found = unexplained(store.attempts(job_id), numbers, 0)
            trial.must(not found, "J", f"nothing was done to {found}")
        check_return(trial, store, low)
    finally:
        store.close()


def check_return(trial: Trial, store: Store, job_id: str) -> None:
    """Note unless a job has made room, and come back though nobody asked for that."""
    told = [one.data for one in store.events(job_id, limit=100_000)]
    passed = [one.after for one in told if isinstance(one, StatusChanged)]
    trial.must(Status.PAUSING in passed, "J", f"it made no room: {passed}")
    trial.must(Status.PAUSED not in passed, "J", f"it waited for its owner: {passed}")
    desired = store.job(job_id).desired
    trial.must(desired is Desired.RUN, "J", f"its owner is said to want {desired}")


@pytest.mark.parametrize(("deaths", "seed"), trials())
def test_a_job_that_made_room_comes_back_to_the_same(
    faults: Trials,
    scene: Scene,
    small_jobs: SmallJobs,
    deaths: tuple[Death, Death],
    seed: int,
) -> None:
    draw = random.Random(seed)
    points = [draw.choice(ASKING), draw.choice(BEGINNING)]
    name = "slow"
    if Death.SAVING in deaths:
        name = f"slow dies {draw.randint(1, NUM_WRITES)} {draw.choice(['before', 'within'])}"
    with faults.trial("5", FAULT, seed=seed) as trial, scene.service.revived():
        jobs = preempt(trial, scene, small_jobs, name, *points)
        struck = [one for death in deaths for one in strike(scene, death, jobs, draw)]
        left = scene.service.wait_met()
        trial.must(not left, "J", f"of {list(map(str, points))} not met: {list(map(str, left))}")
        see_end(trial, scene, small_jobs, jobs, struck=struck)
