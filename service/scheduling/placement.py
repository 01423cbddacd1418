"""Which waiting jobs may start: gang admission of replicas onto nodes, as a pure function.

Order is strict: by priority, then by age. The first job that could run on the whole cluster but
does not fit beside what runs holds back all behind it, so that no stream of small jobs starves a
large one; what that costs in idle devices is the price of a queue that people can foresee. A job
that is too large for the cluster as it stands holds back nobody.

Ray alone knows on which node a bundle lies. Here running jobs are packed anew, largest first; if
Ray packed them worse, an admitted attempt waits in STARTING until a node has room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.contract.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of the cluster and what it has."""

    id: str
    num_cpus: float
    num_gpus: float


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Equal bundles, one a replica; each lies on one node, and all are given or none."""

    num_replicas: int
    cpus_per_replica: int
    gpus_per_replica: int

    def __str__(self) -> str:
        bundle = f"{self.cpus_per_replica} CPU"
        if self.gpus_per_replica:
            bundle += f" and {self.gpus_per_replica} GPU on one node"
        return f"{self.num_replicas} × ({bundle})"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Who may start now, in order, and why each of the others waits."""

    admitted: tuple[str, ...]
    waiting: Mapping[str, str]


def accelerator_of(spec: JobSpec, nodes: Sequence[Node]) -> str:
    """Return what `auto` comes to: gpu where the cluster has any."""
    if spec.scale.accelerator != "auto":
        return spec.scale.accelerator
    return "gpu" if any(node.num_gpus >= 1 for node in nodes) else "cpu"


def demand_of(spec: JobSpec, accelerator: str) -> Demand:
    """Return the bundles that the spec's replicas need."""
    return Demand(
        num_replicas=spec.scale.replicas,
        cpus_per_replica=spec.scale.cpus_per_replica,
        gpus_per_replica=spec.scale.devices_per_replica if accelerator == "gpu" else 0,
    )


def place(nodes: Sequence[Node], demand: Demand) -> tuple[Node, ...] | None:
    """Return what the nodes have left once every bundle is placed; None if not all fit.

    Filling node after node is exact: the bundles are equal, so only their number matters.
    """
    missing = demand.num_replicas
    left = []
    for node in nodes:
        taken = min(missing, _num_bundles(node, demand))
        missing -= taken
        left.append(
            replace(
                node,
                num_cpus=node.num_cpus - taken * demand.cpus_per_replica,
                num_gpus=node.num_gpus - taken * demand.gpus_per_replica,
            )
        )
    return None if missing else tuple(left)


def _num_bundles(node: Node, demand: Demand) -> int:
    fitting = node.num_cpus // demand.cpus_per_replica
    if demand.gpus_per_replica:
        fitting = min(fitting, node.num_gpus // demand.gpus_per_replica)
    return max(int(fitting), 0)


def admit(
    nodes: Sequence[Node], running: Sequence[Demand], waiting: Sequence[tuple[str, Demand]]
) -> Admission:
    """Decide over `waiting`, which stands in the order of the queue."""
    free: tuple[Node, ...] | None = tuple(nodes)
    for demand in sorted(running, key=_size, reverse=True):
        # What runs may not fit if a node was lost: then nothing more is started.
        free = None if free is None else place(free, demand)
    admitted: list[str] = []
    reasons: dict[str, str] = {}
    blocker: str | None = None
    for job_id, demand in waiting:
        if place(nodes, demand) is None:
            reasons[job_id] = f"needs {demand}; the whole cluster has {_total(nodes)}"
        elif blocker is not None:
            reasons[job_id] = "waits behind the jobs before it"
        elif free is None or (left := place(free, demand)) is None:
            blocker = job_id
            reasons[job_id] = f"needs {demand}; free are {_total(free or ())}"
        else:
            free = left
            admitted.append(job_id)
    return Admission(admitted=tuple(admitted), waiting=reasons)


def _size(demand: Demand) -> tuple[int, int, int]:
    return demand.gpus_per_replica, demand.cpus_per_replica, demand.num_replicas


def _total(nodes: Sequence[Node]) -> str:
    cpus, gpus = sum(node.num_cpus for node in nodes), sum(node.num_gpus for node in nodes)
    return f"{cpus:g} CPU and {gpus:g} GPU on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
