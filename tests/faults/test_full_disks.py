"""A disk is full beneath the store, run directories or logs: told, borne, and gone on from."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.store.leases import read_lease
from service.store.store import Store
from tests.acceptance.product import ControlPlane, ledger_lines
from tests.faults.small_disk import SmallDisk
from tests.faults.small_jobs import INTERVAL_STEPS, SmallJobs
from tests.faults.stand_in_ray import StandInRay
from tests.faults.test_store_outages import PACE_S, see_through_outage
from tests.faults.trials import Trials, seeds
from tests.integration.service.test_two_control_planes import Answering
from tests.waiting import wait_for
from trainer.contract.checkpoint_folder import latest_checkpoint
from trainer.contract.run_directory import RunDirectory

pytestmark = pytest.mark.slow

# A store and its log, where no more is told than by a job of two minutes.
STORE_BYTES = 3 << 20
# As many checkpoints as are kept, and some that are being written or deleted.
RUN_BYTES = 24 << 20
# As an outcome needs, and a checkpoint does not have enough of.
LITTLE_BYTES = 64 << 10


class StoreOnDisk(ControlPlane):
    """Its store is for its own eyes: others have a copy of it."""

    disk: SmallDisk

    @property
    def store_url(self) -> str:
        copy = self.state_dir / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self.disk.inside.glob("store.db*"):
            shutil.copy(file, copy)
        return f"sqlite:///{copy / 'store.db'}"


class StandbyOnDisk(StoreOnDisk, Answering):
    """It begins behind the other."""


def test_a_full_disk_of_the_store_is_waited_for(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    @contextmanager
    def full() -> Iterator[None]:
        disk.fill()
        try:
            yield
        finally:
            disk.make_room()

    state, root = tmp_path / "state", small_jobs.data_root
    with (
        SmallDisk(tmp_path / "disk", size_bytes=STORE_BYTES) as disk,
        StandInRay(pace_s=PACE_S) as ray,
    ):
        url = f"sqlite:///{disk.folder / 'store.db'}"
        planes: list[ControlPlane] = []
        for kind in (StoreOnDisk, StandbyOnDisk):
            plane = kind(state, root, ALEXNET_STORE_URL=url, **ray.settings)
            plane.disk, plane.prefix = disk, disk.prefix
            planes.append(plane)
        with (
            planes[0].running(),
            planes[1].running(),
            faults.trial("14", "the disk of the store is full") as trial,
        ):
            see_through_outage(trial, planes, small_jobs, full)


@pytest.mark.parametrize("room_bytes", [0, LITTLE_BYTES])
@pytest.mark.parametrize("seed", seeds("14"))
def test_a_full_disk_of_run_directories_is_named_and_gone_on_from(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path, seed: int, room_bytes: int
) -> None:
    step = 2 * INTERVAL_STEPS + random.Random(seed).randrange(INTERVAL_STEPS)
    with (
        SmallDisk(tmp_path / "disk", size_bytes=RUN_BYTES) as disk,
        StandInRay(pace_s=0.05, prefix=disk.prefix) as ray,
    ):
        run_root = str(disk.folder)
        plane = ControlPlane(
            tmp_path / "state", small_jobs.data_root, ALEXNET_RUN_ROOT=run_root, **ray.settings
        )
        plane.prefix = disk.prefix
        with (
            plane.running(),
            faults.trial("14", "the disk of run directories is full", seed=seed) as trial,
        ):
            job_id = plane.submit(**small_jobs.request())
            run = RunDirectory(disk.inside / job_id)
            reached = f"step {step}"
            wait_for(reached, lambda: len(ledger_lines(run.attempt(1).path)) >= step, timeout_s=60)
            disk.fill(room_bytes=room_bytes)
            trial.strike()

            def told() -> bool:
                job = plane.job(job_id)
                trial.must(job["status"] != "FAILED", "J", f"it failed: {job['message']}")
                return "No space left" in str(job["message"])

            wait_for("the disk to be named", told, timeout_s=60)
            trial.detected()
            refused = plane.http.post("/jobs", json=small_jobs.request(name="another"))
            if refused.is_success:
                plane.http.post(f"/jobs/{refused.json()['id']}/cancel").raise_for_status()
            if room_bytes == 0:
                latest = latest_checkpoint(run)
                trial.must(latest.checkpoint, "C", "there is no checkpoint")
                trial.must(not latest.damaged, "C", f"damaged are {latest.damaged}")
            num_attempts = len(plane.job(job_id)["attempts"])
            disk.make_room()
            wait_for(
                "the next attempt",
                lambda: any(
                    ledger_lines(run.attempt(number).path)
                    for number in range(num_attempts + 1, run.newest_attempt() + 1)
                ),
                timeout_s=60,
            )
            trial.recovered()
            plane.wait_status(job_id, "SUCCEEDED", timeout_s=60)
            small_jobs.check(trial, job_id, run.path, plane.store_url)
            left = [str(path) for path in run.path.rglob("*.partial")]
            trial.must(not left, "Q", f"{left} are left")


def test_a_full_disk_of_the_services_log_disturbs_nobody(
    faults: Trials, small_jobs: SmallJobs, tmp_path: Path
) -> None:
    with (
        SmallDisk(tmp_path / "disk", size_bytes=64 << 10) as disk,
        StandInRay() as ray,
    ):
        plane = ControlPlane(tmp_path / "state", small_jobs.data_root, **ray.settings)
        plane.log = disk.inside / "service.log"
        with faults.trial("14", "the disk of the service's log is full") as trial:
            with plane.running():
                disk.fill()
                # To the end of its last block.
                with plane.log.open("ab", buffering=0) as log, suppress(OSError):
                    while log.write(b"\n"):
                        pass
                trial.strike()
                job_id = plane.submit(**small_jobs.request())
                plane.wait_status(job_id, "RUNNING", timeout_s=60)
                trial.recovered()
                plane.wait_status(job_id, "SUCCEEDED", timeout_s=60)
                run = plane.run_directory(job_id)
                small_jobs.check(trial, job_id, run, plane.store_url)
            store = Store(plane.store_url)
            lease = store.read(read_lease)
            store.close()
            # The last of what it lets go of: a local Ray goes before it.
            trial.must(lease and lease.released, "Q", "the service has not let go of its lease")
