"""An attempt dies at a write, a rename or a removal as it saves checkpoints; the next goes on."""

import random
from collections.abc import Iterator

import pytest

from tests.acceptance.product import ControlPlane, ledger_lines
from tests.faults.small_jobs import SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.trials import SEED, Trial, Trials, seeds
from tests.integration.trainer.conftest import final_weights
from tests.waiting import wait_for
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

FAULT = "an attempt dies while it saves a checkpoint"
PACE_S = 0.02
# What the first six checkpoints do to the disk, with the removal of the oldest of them; a file of
# tensors is also left half-written.
POINTS = [(number, moment) for number in range(1, 101) for moment in ("within", "before")]


def points() -> list[tuple[int, str]]:
    """Return where each trial dies, in an order of their own: all of them in 200 trials."""
    order = random.Random(SEED).sample(POINTS, len(POINTS))
    return [order[number % len(order)] for number, _ in enumerate(seeds("7", short=8))]


@pytest.fixture(scope="module")
def doomed(
    small_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ControlPlane, StandInRay]]:
    with StandInRay(pace_s=PACE_S, module="tests.faults.doomed_attempt") as ray:
        folder = tmp_path_factory.mktemp("doomed")
        plane = ControlPlane(folder / "state", small_jobs.data_root, **ray.settings)
        with plane.running():
            yield plane, ray


def see_through(
    trial: Trial, doomed: tuple[ControlPlane, StandInRay], small_jobs: SmallJobs, name: str
) -> None:
    plane, ray = doomed
    job_id = plane.submit(**small_jobs.request(name=name))
    run = RunDirectory(plane.run_directory(job_id))
    wait_for("the first attempt", lambda: f"{job_id}-1" in ray.processes, timeout_s=60)
    ended = ray.processes[f"{job_id}-1"].wait(60)
    trial.strike()
    assert ended == -9, f"it ended with {ended} before it was to die"
    latest = latest_checkpoint(run, [1])
    trial.must(not latest.damaged, "C", f"{latest.damaged}")
    wait_for("the next attempt", lambda: len(plane.job(job_id)["attempts"]) > 1, timeout_s=60)
    trial.detected()
    wait_for("a step", lambda: ledger_lines(run.attempt(2).path), timeout_s=60)
    trial.recovered()
    plane.wait_status(job_id, "SUCCEEDED", timeout_s=60)
    small_jobs.check(trial, job_id, run.path, plane.store_url)
    partial = sorted(map(str, run.path.rglob("*.partial")))
    trial.must(not partial, "Q", f"half-written: {partial}")


@pytest.mark.parametrize(("number", "moment"), points())
def test_the_next_attempt_goes_on_from_a_whole_checkpoint(
    faults: Trials,
    doomed: tuple[ControlPlane, StandInRay],
    small_jobs: SmallJobs,
    number: int,
    moment: str,
) -> None:
    with faults.trial("7", FAULT) as trial:
        see_through(trial, doomed, small_jobs, f"dies {number} {moment}")


def test_a_checkpoint_written_under_its_final_name_is_found_torn(
    faults: Trials, doomed: tuple[ControlPlane, StandInRay], small_jobs: SmallJobs
) -> None:
    with faults.unguarded("7", FAULT) as trial:
        see_through(trial, doomed, small_jobs, "torn dies 3 within")
        assert any(violation.startswith("C") for violation in trial.violations)


def test_dropout_from_a_stream_of_the_process_gives_other_weights(
    faults: Trials, doomed: tuple[ControlPlane, StandInRay], small_jobs: SmallJobs
) -> None:
    plane, _ = doomed

    def weights(name: str) -> str:
        job_id = plane.submit(**small_jobs.request(name=name))
        plane.wait_status(job_id, "SUCCEEDED", timeout_s=90)
        return final_weights(plane.run_directory(job_id))

    with faults.unguarded("7", FAULT) as trial:
        undisturbed = weights("drawn whole")
        assert weights("drawn whole") == undisturbed
        struck = weights("drawn dies 30 before")
        trial.must(struck == undisturbed, "W", f"the weights are {struck}")


def test_a_velocity_that_is_not_restored_gives_other_weights(
    faults: Trials, doomed: tuple[ControlPlane, StandInRay], small_jobs: SmallJobs
) -> None:
    with faults.unguarded("7", FAULT) as trial:
        see_through(trial, doomed, small_jobs, "still dies 30 before")
        assert [one.partition(":")[0] for one in trial.violations] == ["W"]
