"""The page of the cluster, over real HTTP."""

from dataclasses import replace

import httpx
import pytest
from sqlalchemy import update

from service.control_plane import ControlPlane
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.store.tables import jobs
from service.ui.cluster import LiveCluster
from service.ui.cluster_facts import ClusterFacts
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.guarded import Guarded
from trainer.contract.status import Status

EVIL = "<script>alert(1)</script>"


def seen_with(*holders: str) -> Cluster:
    held = [Holding(node_id="node-one", holder=one, num_cpus=1, num_gpus=2) for one in holders]
    return Cluster(nodes=[Node(id="node-one", num_cpus=4, num_gpus=8)], holdings=held)


def test_nodes_holders_and_the_queue_are_shown(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(plane.store, Status.RUNNING, "held", spec=make_spec(name="holds a pair"))
    monkeypatch.setattr(plane, "cluster", lambda: seen_with("held-1", EVIL))
    plane.store.submit("waits", make_spec(name="waits long"), plane.store.job("held").created_at)
    plane.store.note_wait("waits", f"waits: {EVIL}")
    html = http.get("/ui/cluster").raise_for_status().text
    for told in ("node-one", '/ui/jobs/held"', "holds a pair", "4 of 8 free", "waits long"):
        assert told in html
    assert EVIL not in html
    assert "waits: &lt;script&gt;" in html


@pytest.mark.parametrize(
    ("path", "dashboard"), [("/ui/", "fleet"), ("/ui/cluster", "fleet"), ("/ui/data", "data")]
)
def test_a_page_leads_to_its_dashboard_in_grafana_where_there_is_one(
    http: httpx.Client,
    plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    dashboard: str,
) -> None:
    assert "Grafana" not in http.get(path).text
    changed = plane.settings.model_copy(update={"grafana_url": "https://host/grafana"})
    monkeypatch.setattr(plane, "settings", changed)
    html = http.get(path).raise_for_status().text
    assert f'href="https://host/grafana/d/alexnet-{dashboard}"' in html


def test_nodes_that_are_not_known_are_told_so(
    http: httpx.Client, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane, "_ray_trouble", None)
    monkeypatch.setattr(plane, "cluster", lambda: "Ray: away")
    assert "Ray: away" in http.get("/ui/cluster").raise_for_status().text


def test_others_private_jobs_are_not_named(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = guarded.plane.store
    for job_id, status in (("hidden", Status.RUNNING), ("hidden-queue", Status.QUEUED)):
        job_in(store, status, job_id, spec=make_spec(name=f"secret {job_id}"))
    store.write(
        lambda connection: connection.execute(
            update(jobs).where(jobs.c.id.like("hidden%")).values(owner="ann", private=True)
        )
    )
    monkeypatch.setattr(guarded.plane, "cluster", lambda: seen_with("hidden-1"))
    assert "secret hidden-queue" in guarded.ann.get("/ui/cluster").text
    for client in (guarded.bob, guarded.vic):
        html = client.get("/ui/cluster").text
        assert "secret" not in html
        assert "hidden-1" not in html
        assert "in use" in html
        assert "a private job" in html


def test_the_stream_tells_of_what_changed_alone() -> None:
    facts = ClusterFacts(figures=(), trouble="", drain="", nodes=(), queue=(), num_more=0)
    told = [facts, facts, replace(facts, trouble="Ray: away")]
    look = LiveCluster(read=lambda: told.pop(0))
    assert [len(look().changes) for _ in range(3)] == [1, 0, 1]
