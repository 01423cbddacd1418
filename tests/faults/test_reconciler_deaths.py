"""The reconciler dies in a life of a job; trials of what its failpoints hold in full."""

import random
from pathlib import Path
from typing import Any

import pytest

from service.cluster.ray_jobs import RayJob
from service.store.errors import StaleAttemptError
from service.store.store import Store
from tests.faults.trials import Trial, Trials, seeds
from tests.unit.service.reconciling.test_failpoints import LIVES, WAITING_LIVES, Failpoints, live
from tests.unit.service.world import FakeRay, World

FAULT = "the reconciler dies at a transition"


class ForgetfulRay(FakeRay):
    """Names submissions anew for a reconciler that begins anew."""

    is_another = False

    def submit(self, submission_id: str, *given: Any, **options: Any) -> None:
        super().submit(self._named(submission_id), *given, **options)

    def job(self, submission_id: str) -> RayJob:
        return super().job(self._named(submission_id))

    def _named(self, submission_id: str) -> str:
        return f"{submission_id}-again" if self.is_another else submission_id


class ForgetfulWorld(World):
    """Among such a Ray."""

    def __init__(self, folder: Path, store: Store) -> None:
        super().__init__(folder, store)
        self.ray = ForgetfulRay()

    def restart(self) -> None:
        super().restart()
        if isinstance(self.ray, ForgetfulRay):
            self.ray.is_another = True


def see_through(
    trial: Trial,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    draw: random.Random,
    kind: type[World] = World,
) -> None:
    name = draw.choice([*LIVES, *WAITING_LIVES])
    store = Store(f"sqlite:///{folder / 'store.db'}")
    store.migrate()
    world = kind(folder, store)
    if name in WAITING_LIVES:
        world.ray.num_cpus = 0.0
    life = (LIVES | WAITING_LIVES)[name]
    points = Failpoints(world, monkeypatch)
    undisturbed = live(world, points, life, "whole")
    fatal, after = draw.randint(1, points.num_passed), draw.random() < 0.5
    points.begin(fatal, after=after)
    where = f"{'after' if after else 'before'} {fatal} of a job that {name}"
    try:
        came_to = live(world, points, life, "struck")
    except (AssertionError, StaleAttemptError) as error:
        trial.must(False, "J", f"{where}: {error}")
    else:
        trial.must(came_to == undisturbed, "J", f"{where}: {came_to}, not {undisturbed}")
    left = {one.id for one in world.ray.live_submissions()} - set(world.ray.stopped)
    trial.must(not left, "Q", f"{where}: {left} live, and nobody stops them")
    store.close()


@pytest.mark.parametrize("seed", seeds("2", short=40))
def test_a_job_comes_to_the_same(
    faults: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with faults.trial("2", FAULT, seed=seed) as trial:
        see_through(trial, tmp_path, monkeypatch, random.Random(seed))


def test_submissions_must_be_found_again(
    faults: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.unguarded("2", FAULT) as trial:
        for number in range(10):
            folder = tmp_path / str(number)
            folder.mkdir()
            see_through(trial, folder, monkeypatch, random.Random(number), ForgetfulWorld)
