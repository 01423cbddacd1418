from datetime import UTC, datetime

import httpx
import pytest
from rich.console import Console

from service.client.client import Client
from service.control_plane import ControlPlane
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.terminal.cluster_table import cluster_tables
from tests.unit.service.conftest import make_spec


def test_the_cluster_is_shown_with_its_holders_and_the_queue_in_order(
    plane: ControlPlane, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Holding(node_id="n", holder="another", num_cpus=1, num_gpus=2)
    seen = Cluster(nodes=[Node(id="n", num_cpus=4, num_gpus=4)], holdings=[held, held])
    monkeypatch.setattr(plane, "cluster", lambda: seen)
    now = datetime.now(UTC)
    for job_id, priority in (("a", 0), ("b", 2), ("c", 0)):
        plane.store.submit(job_id, make_spec(priority=priority), now)
    body = http.get("/cluster?limit=2").raise_for_status().json()
    (node,) = body["nodes"]
    assert (node["free_cpus"], node["free_gpus"]) == (2, 0)
    assert [one["job_id"] for one in body["queue"]] == ["b", "a"]
    assert body["num_waiting"] == 3
    monkeypatch.setattr(plane, "cluster", lambda: "Ray: away")
    assert http.get("/cluster").json()["trouble"] == "Ray: away"
    tables = Console(width=100, record=True)
    with Client(plane.settings.advertised_url) as client:
        tables.print(cluster_tables(client.cluster()))
    assert "Ray: away" in tables.export_text()
