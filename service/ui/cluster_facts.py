"""What the page of the cluster says: nodes, who holds them, and who waits. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.jobs.records import JobRecord
from service.store.gpu_ids import GpuIds
from service.store.switches import Drain
from service.ui import formats
from service.ui.states import ShownState, shown
from service.views.cluster import ClusterView, HeldView, NodeView, QueuedView

NUM_COLOURS = 8
# Sums of Ray's ten-thousandths are off by less.
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has something of a node."""

    name: str
    job_id: str | None
    """None: no job that the reader is told of."""
    colour: int
    """1 to NUM_COLOURS, the same on every node; 0: of no job's."""
    amount: str
    """For people: what it has."""
    cpu_percent: float
    """Of the node's CPUs."""
    gpus: tuple[float, ...]
    """Its GPUs here, those of a replica together where its attempt told which they are."""


@dataclass(frozen=True, kw_only=True)
class NodeCard:
    """A node."""

    id: str
    cpus: str
    gpus: str
    memory: str
    gpu_type: str
    holders: tuple[Holder, ...]
    free_gpus: tuple[float, ...]
    """Each by itself: nothing tells which of them are neighbours."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job of the queue."""

    place: int
    job_id: str | None
    """None: another's private job."""
    name: str
    state: ShownState
    priority: str
    since: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that stands large, and what it is."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """The page."""

    figures: tuple[Figure, ...]
    trouble: str
    """Why the nodes are not known; '': they are."""
    drain: str
    """For people; '': attempts begin."""
    nodes: tuple[NodeCard, ...]
    queue: tuple[Waiting, ...]
    num_more: int
    """Of the queue, who is not shown."""


def cluster_facts(
    view: ClusterView,
    jobs: Iterable[JobRecord],
    drain: Drain | None,
    gpu_ids: Mapping[str, GpuIds],
) -> ClusterFacts:
    """Say what a caller's view of the cluster comes to.

    `jobs`: those of which they are told; `gpu_ids`: by job, what its attempt told.
    """
    by_holder = {f"{job.id}-{job.attempt}": job for job in jobs}
    by_id = {job.id: job for job in by_holder.values()}
    ours = [one.holder for node in view.nodes for one in node.held if one.holder in by_holder]
    num_places = Counter(ours)
    colours = {holder: place % NUM_COLOURS + 1 for place, holder in enumerate(num_places)}
    # Of one on several nodes nothing tells which replica is where.
    in_one_place = [holder for holder, times in num_places.items() if times == 1]
    told = {holder: gpu_ids.get(by_holder[holder].id, ()) for holder in in_one_place}
    return ClusterFacts(
        figures=_figures(view),
        trouble=view.trouble or "",
        drain=_drain(drain),
        nodes=tuple(_node(node, by_holder, colours, told) for node in view.nodes),
        queue=tuple(_waiting(one, by_id) for one in view.queue),
        num_more=view.num_waiting - len(view.queue),
    )


def _figures(view: ClusterView) -> tuple[Figure, ...]:
    nodes = view.nodes
    figures = []
    if nodes:
        figures = [
            Figure(name="Nodes", value=formats.count(len(nodes))),
            Figure(name="GPUs free", value=_of(nodes, "gpus")),
            Figure(name="CPUs free", value=_of(nodes, "cpus")),
        ]
    return (*figures, Figure(name="Jobs that wait", value=formats.count(view.num_waiting)))


def _of(nodes: Sequence[NodeView], kind: str) -> str:
    free = sum(getattr(node, f"free_{kind}") for node in nodes)
    return f"{_number(free)} of {_number(sum(getattr(node, f'num_{kind}') for node in nodes))}"


def _drain(drain: Drain | None) -> str:
    if drain is None:
        return ""
    paused = ", and what ran is paused" if drain.pause else ""
    return (
        f"The service drains since {formats.moment(drain.since)}: no attempt begins{paused}. "
        "An admin ends that with `alexnet undrain`."
    )


def _node(
    node: NodeView,
    by_holder: Mapping[str, JobRecord],
    colours: Mapping[str, int],
    told: Mapping[str, GpuIds],
) -> NodeCard:
    return NodeCard(
        id=node.id,
        cpus=f"{_number(node.free_cpus)} of {_number(node.num_cpus)} free",
        gpus=f"{_number(node.free_gpus)} of {_number(node.num_gpus)} free"
        if node.num_gpus
        else "none",
        memory=formats.size(node.memory_bytes),
        gpu_type=node.gpu_type or "",
        holders=tuple(
            _holder(
                one,
                node,
                by_holder.get(one.holder),
                colours.get(one.holder, 0),
                told.get(one.holder, ()),
            )
            for one in node.held
        ),
        free_gpus=_singly(node.free_gpus),
    )


def _holder(
    held: HeldView, node: NodeView, job: JobRecord | None, colour: int, told: GpuIds
) -> Holder:
    have = [(held.num_cpus, "CPU"), (held.num_gpus, "GPU")]
    amount = ", ".join(f"{_number(number)} {kind}" for number, kind in have if number)
    is_told = sum(map(len, told)) == held.num_gpus > 0
    # Others than numbers are long, as those of slices are.
    if is_told and all(one.isdigit() for gpus in told for one in gpus):
        amount += f": {', '.join('+'.join(gpus) for gpus in told)}"
    return Holder(
        name=held.holder if job is None else job.spec.name,
        job_id=None if job is None else job.id,
        colour=colour,
        amount=amount,
        cpu_percent=min(held.num_cpus / node.num_cpus, 1) * 100 if node.num_cpus else 0,
        gpus=tuple(float(len(gpus)) for gpus in told) if is_told else _singly(held.num_gpus),
    )


def _singly(number: float) -> tuple[float, ...]:
    """Cut a number of GPUs into single ones; the last is what is left."""
    whole = int(number + _ROUNDING)
    left = round(number - whole, 4)
    return (*(1.0 for _ in range(whole)), *((left,) if left > _ROUNDING else ()))


def _waiting(queued: QueuedView, by_id: Mapping[str, JobRecord]) -> Waiting:
    job = by_id.get(queued.job_id or "")
    priority = f"{queued.priority:+d}" if queued.priority else "0"
    grown = f"{queued.effective_priority:.1f}"
    return Waiting(
        place=queued.place,
        job_id=queued.job_id,
        name="a private job" if job is None else job.spec.name,
        state=shown(queued.status),
        priority=f"{priority}, by waiting {grown}",
        since=queued.since,
        why=queued.message or ("" if job is None else "its turn has not been looked at yet"),
    )


def _number(number: float) -> str:
    return f"{round(number, 2):,g}"
