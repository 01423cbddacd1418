"""A job dies, its newest checkpoints are damaged: it goes on from the newest that is whole."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.product import ControlPlane, ledger_lines, worker_pids
from tests.faults.small_jobs import INTERVAL_STEPS, SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import Trial, Trials, seeds
from tests.waiting import wait_for
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

FAULT = "checkpoints are truncated, or have a bit flipped"
FILES = ("model.safetensors", "velocity.safetensors", "checkpoint.json")
# Of two seconds in all: long enough to be struck amid a certain step.
PACE_S = 0.02

Damage = Callable[[Path], None]
Running = tuple[ControlPlane, StandInRay]


def drawn_damage(draw: random.Random) -> Damage:
    """Cut a file of a checkpoint short, or turn one of its bits over, somewhere."""

    def damage(folder: Path) -> None:
        file = folder / draw.choice(FILES)
        content = bytearray(file.read_bytes())
        place = draw.randrange(len(content))
        if draw.random() < 0.5:
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        file.write_bytes(content)

    return damage


def flip_a_weight(folder: Path) -> None:
    """Turn the sign of the last weight, which its file does not show."""
    content = bytearray((folder / FILES[0]).read_bytes())
    content[-1] ^= 0x80
    (folder / FILES[0]).write_bytes(content)


@contextmanager
def running(kind: type[ControlPlane], folder: Path, small_jobs: SmallJobs) -> Iterator[Running]:
    module = "tests.faults.attempt_here" if kind is ControlPlane else kind.module
    with StandInRay(pace_s=PACE_S, module=module) as ray:
        plane = kind(folder / "state", small_jobs.data_root, **ray.settings)
        with plane.running():
            yield plane, ray


@pytest.fixture(scope="module")
def verifying(small_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(ControlPlane, tmp_path_factory.mktemp("damaged"), small_jobs) as verifying:
        yield verifying


def kill_and_damage(
    running: Running, job_id: str, step: int, damages: Sequence[Damage]
) -> list[Path]:
    """Kill a job's first attempt at a step and damage its newest checkpoints.

    Returns its checkpoints, the newest first, of which so many are damaged.
    """
    plane, _ = running
    run = RunDirectory(plane.run_directory(job_id))
    reached = f"step {step}"
    wait_for(reached, lambda: len(ledger_lines(run.attempt(1).path)) >= step, timeout_s=60)
    # Stopped first, so that nothing is committed between the damage and the end.
    (process,) = worker_pids(run.attempt(1))
    os.kill(process, signal.SIGSTOP)
    folders = list_folders(run)
    for damage, folder in zip(damages, folders, strict=False):
        damage(folder)
    os.kill(process, signal.SIGKILL)
    return folders


def see_through(
    trial: Trial, running: Running, small_jobs: SmallJobs, *, step: int, damages: Sequence[Damage]
) -> None:
    plane, ray = running
    job_id = plane.submit(**small_jobs.request())
    run = RunDirectory(plane.run_directory(job_id))
    folders = kill_and_damage(running, job_id, step, damages)
    trial.strike()
    wait_for("the next attempt", lambda: len(plane.job(job_id)["attempts"]) > 1, timeout_s=60)
    trial.detected()
    began_from = plane.job(job_id)["attempts"][1]["resume_from"]
    whole = str(folders[len(damages)].relative_to(run.path))
    trial.must(began_from == whole, "C", f"it goes on from {began_from}, not {whole}")
    told = json.dumps(plane.events(job_id))
    for folder in folders[: len(damages)]:
        trial.must(f"{folder.name} is damaged" in told, "C", f"{folder.name} is not told")
    wait_for("a step", lambda: ledger_lines(run.attempt(2).path), timeout_s=60)
    trial.recovered()
    plane.wait_status(job_id, "SUCCEEDED", timeout_s=60)
    small_jobs.check(trial, job_id, run.path, plane.store_url)
    trial.must(f"{job_id}-2" not in ray.living(), "Q", "its process lives")


@pytest.mark.parametrize("seed", seeds("18", short=3))
def test_the_newest_whole_checkpoint_is_taken_and_the_damaged_are_named(
    faults: Trials, verifying: Running, small_jobs: SmallJobs, seed: int
) -> None:
    draw = random.Random(seed)
    damages = [drawn_damage(draw)] * draw.randrange(1, 3)
    step = 4 * INTERVAL_STEPS + draw.randrange(INTERVAL_STEPS)
    with faults.trial("18", FAULT, seed=seed) as trial:
        see_through(trial, verifying, small_jobs, step=step, damages=damages)


class Unverified(ControlPlane):
    module = "tests.faults.unverified"


def test_where_nothing_is_verified_the_weights_tell(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with (
        running(Unverified, tmp_path, small_jobs) as unverified,
        faults.unguarded("18", FAULT) as trial,
    ):
        see_through(
            trial, unverified, small_jobs, step=4 * INTERVAL_STEPS + 3, damages=[flip_a_weight]
        )
        assert any(violation.startswith("W") for violation in trial.violations)
