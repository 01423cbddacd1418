"""A local Ray as the service starts it, without the service, and attempts started there by hand."""

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from ray.job_submission import JobStatus, JobSubmissionClient

from service.cluster.local_ray import LocalRay
from service.cluster.ray_jobs import RayUnreachableError
from service.cluster.ray_processes import RayProcesses
from tests.waiting import wait_for
from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import write_order
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec

TIMEOUT_S = 120.0
# Of one core, of all processes of a Ray together: what one costs that does nothing, and a little.
IDLE_CORES = 0.3
_LOOK_S = 1.0


class LoneRay:
    """A Ray that nobody reconciles."""

    def __init__(self, url: str, token: str, processes: RayProcesses) -> None:
        """`processes`: all of it, and all that it starts."""
        self.url = url
        self.token = token
        self.processes = processes
        self._client = JobSubmissionClient(url, headers={"Authorization": f"Bearer {token}"})

    def submit(self, attempt: AttemptDirectory) -> None:
        """Start what the service starts, as `ray job submit` does: no options of the service's."""
        command = [sys.executable, "-m", "trainer", "attempt", str(attempt.path)]
        self._client.submit_job(entrypoint=shlex.join(command), submission_id=_name(attempt))

    def wait_ended(self, attempt: AttemptDirectory) -> None:
        """Wait until the driver has gone; fails with its log where it did not succeed."""

        def ended() -> JobStatus | None:
            status = self._client.get_job_status(_name(attempt))
            return status if status.is_terminal() else None

        status = wait_for("the driver to go", ended, timeout_s=TIMEOUT_S)
        if status != JobStatus.SUCCEEDED:
            raise RuntimeError(f"{attempt.path}: {status}\n{attempt.log.read_text()[-3000:]}")


@contextlib.contextmanager
def lone_ray(state_dir: Path) -> Iterator[LoneRay]:
    """Start a Ray without warm processes, wait until it idles, and stop it."""
    state_dir.mkdir()
    ray = LocalRay(state_dir, url="no control plane", num_cpus=None, num_gpus=0)

    def url() -> str | None:
        with contextlib.suppress(RayUnreachableError):
            return ray.jobs().url
        return None

    try:
        address = wait_for("Ray", url, timeout_s=TIMEOUT_S)
        token = (state_dir / "ray-token").read_text().strip()
        wait_until_idle(state_dir)
        yield LoneRay(address, token, processes_of(state_dir))
    finally:
        ray.stop()
        ray.ownership.release()


def write_attempt(run: Path, spec: JobSpec) -> AttemptDirectory:
    """Write the order of a first attempt, which reports to nobody."""
    attempt = RunDirectory(run).attempt(1)
    order = AttemptOrder(job_id=run.name, attempt=1, spec=spec, accelerator="cpu", resume_from=None)
    write_order(attempt, order)
    return attempt


def wait_until_idle(state_dir: Path) -> None:
    """Wait until the Ray of a state directory has done what it does after its start."""
    processes = processes_of(state_dir)

    def idles() -> bool:
        before = _cpu_seconds(processes)
        began = time.monotonic()
        time.sleep(_LOOK_S)
        after = _cpu_seconds(processes)
        used = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
        return used / (time.monotonic() - began) < IDLE_CORES

    wait_for("Ray to idle", idles, timeout_s=TIMEOUT_S)


def processes_of(state_dir: Path) -> RayProcesses:
    """Return the processes of the Ray of a state directory."""
    record = json.loads((state_dir / "ray.json").read_text())
    return RayProcesses(record["temp_dir"], session=record["pid"])


def _cpu_seconds(processes: RayProcesses) -> dict[int, float]:
    seconds = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds


def _name(attempt: AttemptDirectory) -> str:
    return f"{attempt.run.name}-{attempt.number}"
