"""The scheduler's parts again, slow and literal: what the fast ones are compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from service.scheduling.placement import Demand, Node
from service.scheduling.queue import ActiveJob, QueuePolicy, WaitingJob
from service.scheduling.room import Cluster, Holding


def free_beside(nodes: Sequence[Node], holdings: Iterable[Holding]) -> list[Node]:
    """Return what nodes have beside what is held of them."""
    free = {node.id: node for node in nodes}
    for one in holdings:
        if (node := free.get(one.node_id)) is not None:
            free[node.id] = replace(
                node, num_cpus=node.num_cpus - one.num_cpus, num_gpus=node.num_gpus - one.num_gpus
            )
    return sorted(free.values(), key=lambda node: (_total(nodes, node.id), node.id))


def _total(nodes: Sequence[Node], node_id: str) -> float:
    return next(node.num_gpus for node in nodes if node.id == node_id)


def place(free: list[Node], gang: Demand) -> list[Node] | None:
    """Place a gang bundle by bundle; return what is left, or None where one does not fit."""
    left = list(free)
    for _ in range(gang.num_replicas):
        for number, node in enumerate(left):
            cpus = node.num_cpus - gang.cpus_per_replica
            gpus = node.num_gpus - gang.gpus_per_replica
            if cpus >= 0 and (gpus >= 0 or not gang.gpus_per_replica):
                left[number] = replace(node, num_cpus=cpus, num_gpus=gpus)
                break
        else:
            return None
    return left


def admitted(
    cluster: Cluster,
    active: list[ActiveJob],
    waiting: list[WaitingJob],
    policy: QueuePolicy,
    *,
    limits: dict[str, int],
    now: float,
) -> list[str]:
    """Say who may start, one job after another in the order of effective priorities."""
    free: list[Node] | None = free_beside(cluster.nodes, cluster.holdings)
    empty = free_beside(cluster.nodes, [])
    for held in sorted(active, key=claim, reverse=True):
        missing = num_missing(held, cluster)
        whole = place(empty, held.demand) is not None
        left = None if free is None else place(free, replace(held.demand, num_replicas=missing))
        free = left if left is not None or (whole and not held.is_leaving) else free
    begun: list[WaitingJob] = []
    for job in by_priority(waiting, policy, now):
        owners = [one.owner for one in active] + [one.owner for one in begun]
        limit = limits.get(job.owner or "", policy.max_active_jobs_per_owner)
        if place(empty, job.demand) is None:
            continue
        if job.owner is not None and limit is not None and owners.count(job.owner) >= limit:
            continue
        if policy.max_active_jobs is not None and len(owners) >= policy.max_active_jobs:
            break
        free = None if free is None else place(free, job.demand)
        if free is None:
            break
        begun.append(job)
    return [job.id for job in begun]


def by_priority(waiting: list[WaitingJob], policy: QueuePolicy, now: float) -> list[WaitingJob]:
    """Sort by effective priority, which is computed, and then by arrival."""
    return sorted(
        waiting,
        key=lambda job: (-job.turn.effective_priority(now, policy.ageing_s), job.turn.seq),
    )


def num_missing(job: ActiveJob, cluster: Cluster) -> int:
    """Count the bundles that an active job does not hold yet."""
    demand = job.demand
    held = [
        one
        for one in cluster.holdings
        if one.holder == job.submission_id
        and one.num_cpus >= demand.cpus_per_replica
        and one.num_gpus >= demand.gpus_per_replica
    ]
    return max(demand.num_replicas - len(held), 0)


def claim(job: ActiveJob) -> tuple[bool, tuple[int, int, int]]:
    """Return what gangs are placed in the order of: who stays first, and the largest of them."""
    demand = job.demand
    size = demand.gpus_per_replica, demand.cpus_per_replica, demand.num_replicas
    return not job.is_leaving, size
