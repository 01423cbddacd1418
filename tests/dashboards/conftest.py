"""The service with some jobs, and a Prometheus that watches them.

One of two replicas trains, from an object store; one is over; and of one a process was killed.
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_shards.storage.folder import open_folder
from tests.acceptance.product import ControlPlane, free_port, worker_pids
from tests.dashboards.checked_in import PanelQuery, panel_queries
from tests.dashboards.empty import may_be_empty
from tests.dashboards.prometheus import Prometheus, running_prometheus
from tests.integration.trainer.conftest import Shards, pack_few
from tests.object_store import ObjectStore, forget_clients
from tests.waiting import wait_for

_HERE = Path(__file__).parent
HASTENED = "AlexnetJobWithoutProgress"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, so that other runs leave it out."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.dashboards)


@dataclass(frozen=True)
class Watched:
    """What is watched, and by whom."""

    control_plane: ControlPlane
    prometheus: Prometheus
    job_id: str
    """Of the job that trains."""

    def asked(self, query: PanelQuery) -> list[dict[str, Any]]:
        """Return what a panel is answered."""
        # As the pickers stand: one job, or all of them.
        expr = query.substituted(".*" if query.dashboard == "data" else self.job_id)
        if query.instant:
            return self.prometheus.ask(expr)
        return self.prometheus.ask_range(expr, step_s=query.step_s)


@pytest.fixture(scope="session")
def bucket(object_store: ObjectStore) -> Iterator[str]:
    """The URL of a bucket, which this process and its children can open by it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_store.environment.items():
            patch.setenv(name, value)
        forget_clients()
        yield object_store.make_bucket("watched")
    forget_clients()


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Iterator[Watched]:
    """Wait until whatever is to show something does."""
    shards = pack_few(tmp_path_factory.mktemp("shards"))
    folder = tmp_path_factory.mktemp("watched")
    remote = _copied(shards, bucket)

    def request(epochs: int, replicas: int, train: str = str(shards.train)) -> dict[str, Any]:
        return {
            "preset": "small",
            "name": "watched",
            "data": {"train": train, "validation": str(shards.validation)},
            "model": {"width": 0.125},
            "optim": {"global_batch_size": 16, "epochs": epochs},
            "scale": {"replicas": replicas, "cpus_per_replica": 1, "accelerator": "cpu"},
            "checkpoint": {"interval_steps": 10},
            "retry": {"backoff_s": 1},
        }

    with contextlib.ExitStack() as opened:
        ray_port = str(free_port())
        data_root = shards.train.parents[1]
        control_plane = ControlPlane(
            folder / "state",
            data_root,
            ALEXNET_DATA_ROOTS=json.dumps([str(data_root), bucket]),
            ALEXNET_SHARD_CACHE=str(folder / "cache"),
            ALEXNET_LOCAL_RAY_CPUS="3",
            ALEXNET_LOCAL_RAY_METRICS_PORT=ray_port,
            # Ten seconds otherwise, for which all that is seen of replicas would wait. What they
            # have not told for twice as long is gone, and they tell it every two seconds.
            RAY_metrics_report_interval_ms="3000",
        )
        targets = {
            "control-plane": control_plane.url.removeprefix("http://"),
            "ray": f"127.0.0.1:{ray_port}",
        }
        prometheus = opened.enter_context(
            running_prometheus(folder / "prometheus", targets=targets, hastened=HASTENED)
        )
        opened.enter_context(control_plane.running())
        # Long enough for all that is asked of it; the service takes it along when it is stopped.
        job_id = control_plane.submit(**request(epochs=2000, replicas=2, train=remote))
        over = control_plane.submit(**request(epochs=1, replicas=1))
        control_plane.wait_status(job_id, "RUNNING")
        control_plane.wait_status(over, "SUCCEEDED")
        _restart(control_plane, control_plane.submit(**request(epochs=2000, replicas=1)))
        watched = Watched(control_plane, prometheus, job_id)
        _wait_for_data(watched)
        yield watched


def _copied(shards: Shards, bucket: str) -> str:
    """Put the training set into a bucket; return its manifest's URL."""
    for file in shards.train.parent.iterdir():
        open_folder(f"{bucket}/train").put(file, file.name)
    return f"{bucket}/train/manifest.json"


def _restart(control_plane: ControlPlane, job_id: str) -> None:
    """Kill what trains, wait for the attempt that follows, and have it end."""
    control_plane.wait_status(job_id, "RUNNING")
    for pid in worker_pids(control_plane.attempt(job_id)):
        os.kill(pid, signal.SIGKILL)
    wait_for("another attempt", lambda: control_plane.job(job_id)["attempt"] == 2, timeout_s=120)
    control_plane.http.post(f"/jobs/{job_id}/cancel").raise_for_status()
    control_plane.wait_status(job_id, "CANCELLED")


def _wait_for_data(watched: Watched) -> None:
    missing = [query for query in panel_queries() if not may_be_empty(query)]

    def all_have_data() -> bool:
        # Asked in place, so that what is still missing is seen when the time is up.
        missing[:] = [query for query in missing if not watched.asked(query)]
        return not missing

    try:
        wait_for("every panel to have data", all_have_data, timeout_s=90, every_s=1)
    except AssertionError as error:
        raise AssertionError("no data: " + "\n".join(map(str, missing))) from error
