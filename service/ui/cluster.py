"""/ui/cluster: nodes with who holds them, and the queue; and the stream of what changes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from sqlalchemy import Connection

from service.access.caller import Caller
from service.api.cluster import cluster_view
from service.api.dependencies import Plane, Viewer
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.steady_clock import now_utc
from service.store.gpu_ids import GpuIds
from service.store.switches import Drain, read_drain
from service.ui.cluster_facts import ClusterFacts, cluster_facts
from service.ui.live import Change, Look, stream
from service.ui.pages import router as page_router
from service.ui.rendering import fragment, page
from service.ui.told_gpus import ToldGpus

router = page_router()

MAX_QUEUE = 100
# Nodes are read every ten seconds, and the queue is decided once a second at most.
LOOK_EVERY_S = 2.0
_TARGET = "cluster"


@router.get("/cluster")
def cluster_page(request: Request, plane: Plane, caller: Viewer) -> Response:
    """Show the cluster."""
    facts = _read(request, plane, caller)
    grafana = plane.settings.grafana_url
    return page(request, caller, "cluster.html", view=facts, grafana=grafana, now=now_utc())


@router.get("/live/cluster")
def cluster_stream(request: Request, plane: Plane, caller: Viewer) -> Response:
    """Send what the page shows, and then again when it changes."""
    look = LiveCluster(read=lambda: _read(request, plane, caller))
    return stream(request, plane, look, every_s=LOOK_EVERY_S)


@dataclass(kw_only=True)
class LiveCluster:
    """What `live.stream` calls again and again."""

    read: Callable[[], ClusterFacts]
    _told: ClusterFacts | None = None

    def __call__(self) -> Look:
        """Return the page where it is another."""
        facts = self.read()
        if facts == self._told:
            return Look()
        self._told = facts
        html = fragment("_cluster.html", view=facts, now=now_utc())
        return Look(changes=[Change(kind="fragment", target=_TARGET, html=html)])


def _read(request: Request, plane: ControlPlane, caller: Caller) -> ClusterFacts:
    live: Sequence[JobRecord] = request.app.state.live_jobs.get()
    told: ToldGpus = request.app.state.told_gpus
    seen = [job for job in live if caller.may_see(job.ownership)]
    view = cluster_view(plane, caller, live, limit=MAX_QUEUE)
    held = {one.holder for node in view.nodes for one in node.held if one.num_gpus}
    holders = [job for job in seen if f"{job.id}-{job.attempt}" in held]

    def read(connection: Connection) -> tuple[Drain | None, Mapping[str, GpuIds]]:
        return read_drain(connection), told.read(connection, holders)

    drain, gpu_ids = plane.store.read(read)
    return cluster_facts(view, seen, drain, gpu_ids)
