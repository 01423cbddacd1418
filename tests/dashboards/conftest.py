"""The service, a job of two replicas and one that is over, and a Prometheus that watches them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.product import ControlPlane, free_port
from tests.dashboards.checked_in import PanelQuery, panel_queries
from tests.dashboards.empty import may_be_empty
from tests.dashboards.prometheus import Prometheus, running_prometheus
from tests.integration.trainer.conftest import pack_few
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
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Wait until whatever is to show something does."""
    shards = pack_few(tmp_path_factory.mktemp("shards"))
    folder = tmp_path_factory.mktemp("watched")

    def request(epochs: int, replicas: int) -> dict[str, Any]:
        return {
            "preset": "small",
            "name": "watched",
            "data": {"train": str(shards.train), "validation": str(shards.validation)},
            "model": {"width": 0.125},
            "optim": {"global_batch_size": 16, "epochs": epochs},
            "scale": {"replicas": replicas, "cpus_per_replica": 1, "accelerator": "cpu"},
            "checkpoint": {"interval_steps": 10},
        }

    with contextlib.ExitStack() as opened:
        ray_port = str(free_port())
        control_plane = ControlPlane(
            folder / "state",
            shards.train.parents[1],
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
        job_id = control_plane.submit(**request(epochs=2000, replicas=2))
        over = control_plane.submit(**request(epochs=1, replicas=1))
        control_plane.wait_status(job_id, "RUNNING")
        control_plane.wait_status(over, "SUCCEEDED")
        watched = Watched(control_plane, prometheus, job_id)
        _wait_for_data(watched)
        yield watched


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
