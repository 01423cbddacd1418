"""A worker gets no more memory: named, told what to do, and gone on from, on a real Ray."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.product import ControlPlane, ledger_lines
from tests.faults.memory_group import MemoryGroup
from tests.faults.small_jobs import INTERVAL_STEPS, SmallJobs
from tests.faults.trials import Trials, seeds
from tests.integration.trainer.conftest import pack_few
from tests.waiting import wait_for
from trainer.contract.run_directory import RunDirectory

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Long enough to be struck amid a certain step.
EPOCHS = 12


@pytest.fixture(scope="module")
def longer_jobs(tmp_path_factory: pytest.TempPathFactory) -> SmallJobs:
    folder = tmp_path_factory.mktemp("longer-jobs")
    optim = {"global_batch_size": 16, "epochs": EPOCHS}
    return SmallJobs(folder, pack_few(folder), epochs=EPOCHS, optim=optim)


@pytest.fixture(scope="module")
def plane(
    longer_jobs: SmallJobs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    state_dir = tmp_path_factory.mktemp("memory") / "state"
    plane = ControlPlane(state_dir, longer_jobs.data_root, ALEXNET_LOCAL_RAY_CPUS="2")
    with plane.running():
        yield plane


def named_by(attempt: Path) -> list[int]:
    """Return the processes that were started for an attempt: its driver."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(attempt) in (process.info["cmdline"] or [])
    ]


def group_with(driver: list[int], worker: int) -> MemoryGroup:
    """Put the worker into a control group; skip the test where this machine lets nobody make one.

    That a worker is told so itself, and not killed, is tested in tests/acceptance.
    """
    try:
        group = MemoryGroup()
    except OSError as error:
        pytest.skip(f"no control group that limits memory can be made here: {error}")
    # A driver counts whom the kernel killed of its own group; in the first version, of all.
    group.take([worker] if group.is_first_version else [*driver, worker])
    return group


@pytest.mark.parametrize("seed", seeds("17"))
def test_a_worker_without_memory_is_named_and_gone_on_from(
    faults: Trials, plane: ControlPlane, longer_jobs: SmallJobs, seed: int
) -> None:
    step = 2 * INTERVAL_STEPS + random.Random(seed).randrange(5 * INTERVAL_STEPS)
    job_id = plane.submit(**longer_jobs.request())
    run = RunDirectory(plane.run_directory(job_id))
    first = run.attempt(1)
    wait_for(f"step {step}", lambda: len(ledger_lines(first.path)) >= step, timeout_s=120)
    started = json.loads(first.events.read_text().splitlines()[0])
    (worker,) = started["data"]["worker_pids"]
    with (
        group_with(named_by(first.path), worker) as group,
        faults.trial("17", "a worker is killed for want of memory", seed=seed) as trial,
    ):
        trial.strike()
        group.starve(worker)
        plane.wait_status(job_id, "RETRYING", timeout_s=120)
        trial.detected()
        outcome = plane.job(job_id)["attempts"][0]["outcome"]
        trial.must(outcome["reason"] == "out_of_memory", "J", f"it is told as {outcome}")
        advised = "optim.micro_batch_size" in outcome["message"]
        trial.must(advised, "J", f"what to do is not told: {outcome['message']}")
        wait_for("a step", lambda: ledger_lines(run.attempt(2).path), timeout_s=120)
        trial.recovered()
        plane.wait_status(job_id, "SUCCEEDED", timeout_s=120)
        longer_jobs.check(trial, job_id, run.path, plane.store_url)
        trial.must(not psutil.pid_exists(worker), "Q", "the worker is there")
        left = named_by(first.path)
        trial.must(not left, "Q", f"of the first attempt {left} are left")
