from datetime import UTC, datetime

import httpx
import pytest
from rich.console import Console
from sqlalchemy import update

from service.client.client import Client
from service.control_plane import ControlPlane
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.settings import Settings
from service.store.tables import jobs
from service.terminal.cluster_table import cluster_tables
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import guarding
from trainer.contract.status import Status


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
    monkeypatch.setattr(plane, "_ray_trouble", None)
    monkeypatch.setattr(plane, "cluster", lambda: "Ray: away")
    assert http.get("/cluster").json()["trouble"] == "Ray: away"
    tables = Console(width=100, record=True)
    with Client(plane.settings.advertised_url) as client:
        tables.print(cluster_tables(client.cluster()))
    assert "Ray: away" in tables.export_text()


def test_whoever_is_no_admin_is_shown_who_holds_what_where_they_may_see_the_job(
    settings: Settings, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarding(settings, databases) as guarded:
        store = guarded.plane.store
        for job_id in ("hidden", "shown"):
            job_in(store, Status.RUNNING, job_id)
        store.write(
            lambda connection: connection.execute(
                update(jobs).where(jobs.c.id == "hidden").values(owner="ann", private=True)
            )
        )
        holders = ["hidden-1", "shown-1", "shown-2", "another"]
        seen = Cluster(
            nodes=[Node(id="n", num_cpus=4, num_gpus=0)],
            holdings=[Holding(node_id="n", holder=one, num_cpus=1, num_gpus=0) for one in holders],
        )
        monkeypatch.setattr(guarded.plane, "cluster", lambda: seen)

        def shown(client: httpx.Client) -> list[str]:
            (node,) = client.get("/cluster").json()["nodes"]
            return [one["holder"] for one in node["held"]]

        assert shown(guarded.admin) == holders
        assert shown(guarded.ann) == ["hidden-1", "shown-1", "in use", "in use"]
        assert shown(guarded.bob) == ["in use", "shown-1", "in use", "in use"]
