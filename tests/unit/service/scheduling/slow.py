"""The scheduler's parts again, slow and literal: what the fast ones are compared with."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from service.scheduling.placement import Demand, Node
from service.scheduling.room import Holding


def free_beside(nodes: Iterable[Node], holdings: Iterable[Holding]) -> list[Node]:
    """Return what nodes have beside what is held of them."""
    free = {node.id: node for node in nodes}
    for one in holdings:
        if (node := free.get(one.node_id)) is not None:
            free[node.id] = replace(
                node, num_cpus=node.num_cpus - one.num_cpus, num_gpus=node.num_gpus - one.num_gpus
            )
    return sorted(free.values(), key=lambda node: (_total(nodes, node.id), node.id))


def _total(nodes: Iterable[Node], node_id: str) -> float:
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


def smallest_sets(names: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """Yield every set of names, the smallest first."""
    names = tuple(names)
    for size in range(len(names) + 1):
        yield from combinations(names, size)
