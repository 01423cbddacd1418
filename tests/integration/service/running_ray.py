"""A local Ray as the service starts it, without the service."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.cluster.local_ray import LocalRay
from service.cluster.ray_jobs import RayJobs, RayUnreachableError
from tests.waiting import wait_for


@contextmanager
def running_ray(
    state_dir: Path, *, num_cpus: int, num_gpus: int = 0, warm: bool = False
) -> Iterator[RayJobs]:
    """Start it, wait for its node, and stop it with the block, with all that runs in it."""
    state_dir.mkdir(exist_ok=True)
    local = LocalRay(state_dir, url="http://test", num_cpus=num_cpus, num_gpus=num_gpus, warm=warm)

    def reached() -> RayJobs | None:
        with suppress(RayUnreachableError):
            return local.jobs()
        return None

    try:
        jobs = wait_for("Ray", reached, timeout_s=90)
        wait_for("its node", jobs.nodes, timeout_s=30)
        yield jobs
    finally:
        local.stop()
        local.ownership.release()
