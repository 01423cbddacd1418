"""Whether a job would start now: what the queue would decide if the job were in it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.access.caller import Ownership, may_name
from service.jobs.progress import seconds_left
from service.jobs.records import JobRecord
from service.scheduling.admission import admit
from service.scheduling.placement import accelerator_of, demand_of, has_gpus
from service.scheduling.queue import QueuePolicy, Turn, WaitingJob, in_order
from service.scheduling.room import Cluster
from service.scheduling.waiting import DRAINS, active_job, may_start, waiting_job
from service.views.plans import JobAhead, PlannedStart
from trainer.contract.spec import JobSpec
from trainer.contract.status import ACTIVE

# No job has this id: they are hexadecimal.
_NEW = "new"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a job would come to."""

    cluster: Cluster
    live: Sequence[JobRecord]
    """Jobs that have not ended, the oldest first."""
    accelerators: Mapping[str, str]
    """What the jobs that run were given, by id."""
    policy: QueuePolicy
    limits: Mapping[str, int]
    """Active jobs that owners may have by their quota."""
    is_draining: bool
    """Whether no job begins until an operator says so."""
    now: datetime


def accelerator_on(spec: JobSpec, cluster: Cluster) -> Literal["cpu", "gpu"]:
    """Return what `auto` comes to on the cluster."""
    return accelerator_of(spec, gpus=has_gpus(cluster.nodes))


def foresee_start(
    spec: JobSpec, situation: Situation | None, *, of: Ownership, unseen: str = ""
) -> PlannedStart:
    """Say whether the job would start now; `unseen` is why the situation is None.

    `of`: whose the job would be. It is stored with it, and names what all who see it may see.
    """
    if situation is None:
        return PlannedStart(when="unknown", message=unseen, accelerator=None)
    cluster, policy, now = situation.cluster, situation.policy, situation.now
    gpus = has_gpus(cluster.nodes)
    accelerator = accelerator_of(spec, gpus=gpus)
    demand = demand_of(spec, accelerator)
    due = {job.id: job for job in situation.live if may_start(job, now)}
    at_work = [job for job in situation.live if job.status in ACTIVE]
    last = max((job.seq for job in situation.live), default=0) + 1
    turn = Turn(priority=spec.priority, since=now.timestamp(), waited_s=0.0, seq=last)
    waiting = [waiting_job(job, accelerator_of(job.spec, gpus=gpus)) for job in due.values()]
    new = WaitingJob(id=_NEW, owner=of.owner, demand=demand, turn=turn)
    queue = in_order([*waiting, new], policy)
    given = situation.accelerators
    admission = admit(
        cluster,
        [
            active_job(job, given.get(job.id) or accelerator_of(job.spec, gpus=gpus), now)
            for job in at_work
        ],
        queue,
        policy,
        limits=situation.limits,
        now=now.timestamp(),
    )
    why = admission.waiting.get(_NEW)
    if why is not None and _NEW in admission.too_large:
        return PlannedStart(when="never", message=why, accelerator=accelerator)
    if situation.is_draining:
        why = DRAINS
    if why is None:
        return PlannedStart(when="now", message=f"{demand} are free", accelerator=accelerator)
    if _NEW in admission.preempted.values():
        why += "; jobs of lower priority are to make room for it"
    first = [due[job.id] for job in queue[: queue.index(new)]]
    return PlannedStart(
        when="waits",
        message=why,
        accelerator=accelerator,
        ahead=tuple(
            JobAhead(
                id=job.id if may_name(of, job.ownership) else None,
                status=job.status,
                seconds_left=_seconds_left(job),
            )
            for job in (*at_work, *first)
        ),
    )


def _seconds_left(job: JobRecord) -> float | None:
    progress = job.progress
    return None if progress is None else seconds_left(job.spec, progress, job.evaluation)
