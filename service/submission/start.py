"""Whether a job would start now: by the cluster, what runs on it and what waits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.access.caller import Ownership, may_name
from service.jobs.progress import seconds_left
from service.jobs.records import JobRecord
from service.scheduling.placement import Node, accelerator_of, admit, demand_of
from service.views.plans import JobAhead, PlannedStart
from trainer.contract.spec import JobSpec
from trainer.contract.status import ACTIVE, Desired, Status

# No job has this id: they are hexadecimal.
_NEW = "new"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a job would come to."""

    nodes: Sequence[Node]
    live: Sequence[JobRecord]
    """Jobs that have not ended, the oldest first."""
    accelerators: Mapping[str, str]
    """What the jobs that run were given, by id."""


def accelerator_on(spec: JobSpec, cluster: Cluster) -> Literal["cpu", "gpu"]:
    """Return what `auto` comes to on the cluster."""
    return "gpu" if accelerator_of(spec, cluster.nodes) == "gpu" else "cpu"


def foresee_start(
    spec: JobSpec, cluster: Cluster | None, *, of: Ownership, unseen: str = ""
) -> PlannedStart:
    """Say whether the job would start now; `unseen` is why the cluster is None.

    `of`: whose the job would be. It is stored with it, and names what all who see it may see.
    """
    if cluster is None:
        return PlannedStart(when="unknown", message=unseen, accelerator=None)
    nodes = cluster.nodes
    accelerator = accelerator_on(spec, cluster)
    demand = demand_of(spec, accelerator)
    never = admit(nodes, [], [(_NEW, demand)]).waiting
    if never:
        return PlannedStart(when="never", message=never[_NEW], accelerator=accelerator)
    running = [job for job in cluster.live if job.status in ACTIVE]
    first = sorted(
        (job for job in cluster.live if _waits(job) and job.spec.priority >= spec.priority),
        key=lambda job: (-job.spec.priority, job.seq),
    )
    queue = [(job.id, demand_of(job.spec, accelerator_of(job.spec, nodes))) for job in first]
    admission = admit(
        nodes,
        [
            demand_of(job.spec, cluster.accelerators.get(job.id) or accelerator_of(job.spec, nodes))
            for job in running
        ],
        [*queue, (_NEW, demand)],
    )
    if _NEW in admission.admitted:
        return PlannedStart(when="now", message=f"{demand} are free", accelerator=accelerator)
    return PlannedStart(
        when="waits",
        message=admission.waiting[_NEW],
        accelerator=accelerator,
        ahead=tuple(
            JobAhead(
                id=job.id if may_name(of, job.ownership) else None,
                status=job.status,
                seconds_left=_seconds_left(job),
            )
            for job in (*running, *first)
        ),
    )


def _waits(job: JobRecord) -> bool:
    return job.status in {Status.QUEUED, Status.RETRYING} and job.desired is Desired.RUN


def _seconds_left(job: JobRecord) -> float | None:
    progress = job.progress
    return None if progress is None else seconds_left(job.spec, progress, job.evaluation)
