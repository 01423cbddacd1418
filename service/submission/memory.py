"""Whether a replica's memory fits the devices that it may come to lie on. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from service.scheduling.placement import Demand, Node, accelerator_of, demand_of, has_gpus
from service.views.plans import PlannedDevice, PlannedNetwork
from trainer.contract.spec import JobSpec

_GB = 10**9
# By Ray's names (`ray.util.accelerators`), in GB as NVIDIA's data sheets have them: of a name that
# stands for several sizes the smallest. Of a K80, which is two GPUs, that of one. What the driver
# tells is GiB of the same number, less a little: more than this.
GPU_MEMORY_GB: Mapping[str, int] = {
    "K80": 12,
    "P4": 8,
    "P100": 12,
    "V100": 16,
    "T4": 16,
    "A10G": 24,
    "L4": 24,
    "L40S": 48,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "H20": 96,
    "H100": 80,
    "H200": 141,
    "B200": 180,
}
# Above this share torch's own needs and workspaces decide, which no plan counts (assumed).
_SURE_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    capacity_bytes: int | None
    fits: bool | None
    basis: str


def compare_memory(
    network: PlannedNetwork, spec: JobSpec, nodes: Sequence[Node] | None, *, unseen: str = ""
) -> PlannedNetwork:
    """Return the network with its devices compared; `unseen` is why `nodes` is None."""
    devices = network.devices
    if nodes is None:
        verdict = _unknown(f"the cluster is not known ({unseen})" if unseen else "")
        return _judged(network, [verdict] * len(devices))
    demand = demand_of(spec, accelerator_of(spec, gpus=has_gpus(nodes)))
    suitable = [
        node
        for node in nodes
        if node.num_cpus >= demand.cpus_per_replica and node.num_gpus >= demand.gpus_per_replica
    ]
    if not suitable:
        verdict = _unknown("no node of the cluster has what one replica needs")
        return _judged(network, [verdict] * len(devices))
    if demand.gpus_per_replica:
        types = {node.gpu_type for node in suitable}
        return _judged(network, [_on_gpu(one.total_bytes, types) for one in devices])
    replica_bytes = sum(one.total_bytes for one in devices)
    verdict = _on_hosts(replica_bytes, demand, suitable)
    return _judged(network, [verdict] * len(devices))


def _on_gpu(total_bytes: int, types: Iterable[str | None]) -> _Verdict:
    names = {one or "a GPU whose type Ray does not tell" for one in types}
    sizes = {one: GPU_MEMORY_GB[one] for one in names if one in GPU_MEMORY_GB}
    others = sorted(names - sizes.keys())
    unknown = f"the memory of {' and '.join(others)} is not known" if others else ""
    if not sizes:
        return _unknown(unknown)
    # The smallest first.
    verdicts = {
        one: _compare(total_bytes, sizes[one] * _GB, f"{sizes[one]} GB of {one}, by its data sheet")
        for one in sorted(sizes, key=lambda one: (sizes[one], one))
    }
    verdict = next(iter(verdicts.values()))
    too_small = [one for one, found in verdicts.items() if found.fits is False]
    larger = [one for one in verdicts if one not in too_small]
    if too_small and larger:
        basis = f"it does not fit {' or '.join(too_small)}, it may fit {' or '.join(larger)}"
        verdict = replace(verdict, fits=None, basis=f"{basis}: Ray decides which it is given")
    if unknown:
        return replace(verdict, fits=None, basis=f"{verdict.basis}; {unknown}")
    return verdict


def _on_hosts(replica_bytes: int, demand: Demand, nodes: Sequence[Node]) -> _Verdict:
    """Compare with the node that is worst off: as many replicas as fit may come to lie on it."""
    found: list[tuple[float, _Verdict]] = []
    num_fitting = 0
    for node in nodes:
        num = min(demand.num_replicas, int(node.num_cpus // demand.cpus_per_replica))
        if node.memory_bytes is None:
            return _unknown("Ray does not tell the memory of a node")
        what = f"{node.memory_bytes / _GB:,.1f} GB that Ray gives to processes on a node"
        if num > 1:
            what += f", where {num} replicas may lie"
        need_bytes = num * replica_bytes
        verdict = _compare(need_bytes, node.memory_bytes, what)
        found.append((need_bytes / max(node.memory_bytes, 1), verdict))
        num_fitting += min(num, node.memory_bytes // max(replica_bytes, 1))
    _, worst = max(found, key=lambda one: one[0])
    if worst.fits is False and num_fitting >= demand.num_replicas:
        basis = f"{worst.basis}; it may fit where Ray places it otherwise"
        return replace(worst, fits=None, basis=basis)
    return worst


def _compare(need_bytes: int, capacity_bytes: int, what: str) -> _Verdict:
    fits: bool | None = True
    if need_bytes > capacity_bytes:
        fits, what = False, f"{what}: it does not fit; lower optim.micro_batch_size"
    elif need_bytes > _SURE_SHARE * capacity_bytes:
        fits, what = None, f"{what}: so close that torch's own needs decide"
    return _Verdict(capacity_bytes=capacity_bytes, fits=fits, basis=what)


def _unknown(why: str) -> _Verdict:
    return _Verdict(capacity_bytes=None, fits=None, basis=why)


def _judged(network: PlannedNetwork, verdicts: Sequence[_Verdict]) -> PlannedNetwork:
    devices: list[PlannedDevice] = [
        device.model_copy(
            update={
                "capacity_bytes": verdict.capacity_bytes,
                "fits": verdict.fits,
                "capacity_basis": verdict.basis,
            }
        )
        for device, verdict in zip(network.devices, verdicts, strict=True)
    ]
    return network.model_copy(update={"devices": tuple(devices)})
