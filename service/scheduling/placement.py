"""What nodes have, and what a job needs of them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trainer.contract.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of the cluster and what it has."""

    id: str
    num_cpus: float
    num_gpus: float
    gpu_type: str | None = None
    """Ray's name of its GPUs (`accelerator_type`); None: it has none, or Ray does not tell."""
    memory_bytes: int | None = None
    """What Ray gives to processes, its object store not counted; None: Ray does not tell."""


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


def has_gpus(nodes: Iterable[Node]) -> bool:
    """Whether a job can be given any."""
    return any(node.num_gpus >= 1 for node in nodes)


def accelerator_of(spec: JobSpec, *, gpus: bool) -> Literal["cpu", "gpu"]:
    """Return what `auto` comes to: gpu where the cluster has any."""
    if spec.scale.accelerator != "auto":
        return spec.scale.accelerator
    return "gpu" if gpus else "cpu"


def demand_of(spec: JobSpec, accelerator: str) -> Demand:
    """Return the bundles that the spec's replicas need."""
    return Demand(
        num_replicas=spec.scale.replicas,
        cpus_per_replica=spec.scale.cpus_per_replica,
        gpus_per_replica=spec.scale.devices_per_replica if accelerator == "gpu" else 0,
    )
