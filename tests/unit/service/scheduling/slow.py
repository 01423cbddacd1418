"""The scheduler's parts again, slow and literal: what the fast ones are compared with."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

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
    unplaced: list[Demand] = []
    for held in sorted(active, key=claim, reverse=True):
        missing = num_missing(held, cluster)
        gang = replace(held.demand, num_replicas=missing)
        whole = place(empty, held.demand) is not None
        left = None if free is None else place(free, gang)
        if missing and left is not None:
            unplaced.append(gang)
        free = left if left is not None or (whole and not held.is_leaving) else free
    held_now = free_beside(cluster.nodes, cluster.holdings)
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
        unplaced.append(job.demand)
        if free is None or not surely_fit(held_now, unplaced):
            break
        begun.append(job)
    return [job.id for job in begun]


def surely_fit(free: list[Node], gangs: list[Demand]) -> bool:
    """Whether all gangs fit by the bound of those that are spoilt, or on one node together."""
    together = [replace(gang, num_replicas=1) for gang in gangs for _ in range(gang.num_replicas)]
    for node in free:
        left: list[Node] | None = [node]
        for one in together:
            left = None if left is None else place(left, one)
        if left is not None:
            return True
    for one in together:
        num_fitting, left = 0, free
        while (left := place(left, one)) is not None:
            num_fitting += 1
        for other in together:
            num_fitting -= max(
                math.ceil(other.cpus_per_replica / one.cpus_per_replica),
                math.ceil(other.gpus_per_replica / max(one.gpus_per_replica, 1))
                if one.gpus_per_replica
                else 0,
            )
        if num_fitting < 0:
            return False
    return True


def place_anywhere(free: list[Node], gang: Demand, random: Random) -> list[Node] | None:
    """Place a gang on any nodes that have room; None where one bundle does not fit."""
    left = {node.id: node for node in free}
    for _ in range(gang.num_replicas):
        one = replace(gang, num_replicas=1)
        fitting = [
            placed[0] for node in left.values() if (placed := place([node], one)) is not None
        ]
        if not fitting:
            return None
        node = random.choice(fitting)
        left[node.id] = node
    return list(left.values())


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
