"""Whether a job would start now, or when: what the queue would decide of it. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

from service.access.caller import Ownership, may_name
from service.jobs.records import JobRecord
from service.scheduling.admission import admit
from service.scheduling.forecast import MAX_JOBS, Course
from service.scheduling.placement import accelerator_of, demand_of, has_gpus
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob, in_order
from service.scheduling.room import Cluster
from service.scheduling.waiting import DRAINS, active_job, may_start, waiting_job, waits
from service.submission.remaining import work_left_s
from service.submission.start_time import (
    course_of,
    estimate_start,
    not_estimated,
)
from service.views.plans import JobAhead, PlannedSpeed, PlannedStart, StartEstimate
from trainer.contract.spec import JobSpec
from trainer.contract.status import ACTIVE

# No job has this id: they are hexadecimal.
_NEW = "new"
# Jobs before it that are told one by one: what is told is stored with every job.
MAX_AHEAD = 20


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
    planned: Mapping[str, PlannedSpeed] | None = None
    """By id, from the jobs' own plans; None: when it starts is not asked for."""
    ended: frozenset[str] = frozenset()
    """Attempts that are over, of which the cluster may have been seen when they were not."""

    @cached_property
    def gpus(self) -> bool:
        """Whether `auto` comes to gpu."""
        return has_gpus(self.cluster.nodes)


def accelerator_on(spec: JobSpec, cluster: Cluster) -> Literal["cpu", "gpu"]:
    """Return what `auto` comes to on the cluster."""
    return accelerator_of(spec, gpus=has_gpus(cluster.nodes))


def foresee_start(
    spec: JobSpec, situation: Situation | None, *, of: Ownership, unseen: str = ""
) -> PlannedStart:
    """Say whether the job would start now, or when; `unseen` is why the situation is None.

    `of`: whose the job would be. It is stored with it, and names what all who see it may see.
    """
    if situation is None:
        return PlannedStart(
            when="unknown", message=unseen, accelerator=None, estimate=not_estimated(unseen)
        )
    cluster, policy, now = situation.cluster, situation.policy, situation.now
    accelerator = accelerator_on(spec, cluster)
    demand = demand_of(spec, accelerator)
    due = {job.id: job for job in situation.live if may_start(job, now)}
    last = max((job.seq for job in situation.live), default=0) + 1
    turn = Turn(priority=spec.priority, since=now.timestamp(), waited_s=0.0, seq=last)
    new = WaitingJob(id=_NEW, owner=of.owner, demand=demand, turn=turn)
    queue = in_order([*(_waiting(job, situation) for job in due.values()), new], policy)
    at_work = [job for job in situation.live if job.status in ACTIVE]
    admission = admit(
        cluster,
        [_active(job, situation) for job in at_work],
        queue,
        policy,
        limits=situation.limits,
        now=now.timestamp(),
    )
    why = admission.waiting.get(_NEW)
    if why is not None and _NEW in admission.too_large:
        return PlannedStart(
            when="never", message=why, accelerator=accelerator, estimate=not_estimated(why)
        )
    if situation.is_draining:
        why = DRAINS
    if why is not None and _NEW in admission.preempted.values():
        why += "; jobs of lower priority are to make room for it"
    before = [*at_work, *(due[job.id] for job in queue[: queue.index(new)])] if why else []
    return PlannedStart(
        when="now" if why is None else "waits",
        message=why or f"{demand} are free",
        accelerator=accelerator,
        ahead=tuple(_ahead(job, situation, of) for job in before[:MAX_AHEAD]),
        num_ahead=len(before),
        estimate=_estimate(spec, new, situation),
    )


def _ahead(job: JobRecord, situation: Situation, of: Ownership) -> JobAhead:
    """Return what is told of a job: of a private one of another's, that there is one."""
    is_named = may_name(of, job.ownership)
    leaves = job.status in ACTIVE and _active(job, situation).is_leaving
    return JobAhead(
        id=job.id if is_named else None,
        status=job.status,
        seconds_left=_work_left_s(job, situation) if is_named and not leaves else None,
    )


def _estimate(spec: JobSpec, new: WaitingJob, situation: Situation) -> StartEstimate | None:
    now, deadline_s = situation.now, spec.retry.deadline_s
    if situation.planned is None:
        return None
    if situation.is_draining:
        return not_estimated(DRAINS)
    live = [job for job in situation.live if waits(job) or job.status in ACTIVE]
    if len(live) >= MAX_JOBS:
        return not_estimated(f"more than {MAX_JOBS:,} jobs run or wait: so much is not foreseen")
    courses = [
        course_of(
            job,
            _waiting(job, situation) if waits(job) else _active(job, situation),
            _work_left_s(job, situation),
            now,
        )
        for job in live
    ]
    held = [one for one in situation.cluster.holdings if one.holder not in situation.ended]
    ends_by = math.inf if deadline_s is None else now.timestamp() + deadline_s
    return estimate_start(
        _NEW,
        [*courses, Course(job=new, work_s=None, ends_by=ends_by)],
        replace(situation.cluster, holdings=held),
        situation.policy,
        limits=situation.limits,
        now=now,
    )


def _waiting(job: JobRecord, situation: Situation) -> WaitingJob:
    return waiting_job(job, accelerator_of(job.spec, gpus=situation.gpus))


def _active(job: JobRecord, situation: Situation) -> ActiveJob:
    given = situation.accelerators.get(job.id)
    accelerator = given or accelerator_of(job.spec, gpus=situation.gpus)
    return active_job(job, accelerator, situation.now)


def _work_left_s(job: JobRecord, situation: Situation) -> float | None:
    return work_left_s(job, (situation.planned or {}).get(job.id))
