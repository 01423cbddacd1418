"""/cluster: what the nodes have, who holds it, and who waits."""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from service.access.caller import Caller
from service.api.dependencies import INVALID, Plane, Viewer
from service.control_plane import ControlPlane
from service.jobs.records import JobRecord
from service.scheduling.placement import Node
from service.scheduling.room import Cluster, Holding
from service.scheduling.waiting import turn_of, waits
from service.steady_clock import now_utc
from service.views.cluster import ClusterView, HeldView, NodeView, QueuedView

router = APIRouter(tags=["operations"], responses=INVALID)


@router.get("/cluster")
def get_cluster(
    plane: Plane,
    caller: Viewer,
    *,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of the queue, at most so many.")] = 100,
) -> ClusterView:
    """Show the nodes, what is free of them and who holds the rest, and the queue in order."""
    return cluster_view(plane, caller, plane.store.live_jobs(), limit=limit)


def cluster_view(
    plane: ControlPlane, caller: Caller, live: Sequence[JobRecord], *, limit: int
) -> ClusterView:
    """Show it by what was read of the jobs that have not ended."""
    seen, health = plane.cluster(), plane.health()
    trouble = seen if isinstance(seen, str) else None
    if trouble and caller.is_admin and health.ray_trouble:
        trouble = f"Ray: {health.ray_trouble}"
    ageing_s = plane.settings.priority_ageing_s
    waiting = [job for job in live if waits(job)]
    # Names of others' jobs are theirs where they may be private.
    visible = {f"{job.id}-{job.attempt}" for job in live if caller.may_see(job.ownership)}
    waiting.sort(key=lambda job: turn_of(job, job.waits_since).key(ageing_s))
    return ClusterView(
        ray_address=health.ray_address if caller.is_admin else None,
        trouble=trouble,
        nodes=()
        if isinstance(seen, str)
        else _nodes(seen, lambda holder: caller.is_admin or holder in visible),
        num_waiting=len(waiting),
        queue=tuple(
            _queued(place, job, caller, ageing_s)
            for place, job in enumerate(waiting[:limit], start=1)
        ),
    )


def _nodes(cluster: Cluster, is_named: Callable[[str], bool]) -> tuple[NodeView, ...]:
    held: dict[str, list[Holding]] = {node.id: [] for node in cluster.nodes}
    for holding in cluster.holdings:
        held.setdefault(holding.node_id, []).append(holding)
    return tuple(_node(node, held[node.id], is_named) for node in cluster.nodes)


def _node(node: Node, held: list[Holding], is_named: Callable[[str], bool]) -> NodeView:
    sums: dict[str, tuple[float, float]] = {}
    for one in held:
        cpus, gpus = sums.get(one.holder, (0.0, 0.0))
        sums[one.holder] = cpus + one.num_cpus, gpus + one.num_gpus
    return NodeView(
        id=node.id,
        num_cpus=node.num_cpus,
        num_gpus=node.num_gpus,
        gpu_type=node.gpu_type,
        memory_bytes=node.memory_bytes,
        free_cpus=round(max(node.num_cpus - sum(cpus for cpus, _ in sums.values()), 0.0), 4),
        free_gpus=round(max(node.num_gpus - sum(gpus for _, gpus in sums.values()), 0.0), 4),
        held=tuple(
            HeldView(holder=holder if is_named(holder) else "in use", num_cpus=cpus, num_gpus=gpus)
            for holder, (cpus, gpus) in sums.items()
        ),
    )


def _queued(place: int, job: JobRecord, caller: Caller, ageing_s: float) -> QueuedView:
    seen = caller.may_see(job.ownership)
    turn = turn_of(job, job.waits_since)
    return QueuedView(
        place=place,
        job_id=job.id if seen else None,
        status=job.status,
        priority=job.spec.priority,
        effective_priority=turn.effective_priority(now_utc().timestamp(), ageing_s),
        since=job.waits_since,
        message=job.message if seen else None,
    )
