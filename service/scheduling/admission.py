"""Which waiting jobs may start: gang admission of replicas onto nodes, as a pure function.

The order is strict (docs/decisions/0013-a-strict-queue.md): the first job that could run on the
whole cluster but does not fit beside what is held keeps all behind it waiting, so that no stream
of small jobs starves a large one. A job that is too large for the cluster as it stands, or whose
owner has as many as they may, keeps nobody waiting.

What is free is known of what Ray has placed. Beside gangs that it has yet to place only that begins
which fits wherever it puts them; the others wait for that, seconds as a rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.scheduling.preemption import choose_victims
from service.scheduling.queue import ActiveJob, QueuePolicy, WaitingJob
from service.scheduling.room import Cluster, Holding, Room, Taken
from service.scheduling.unplaced import Unplaced

# Reasons are stored with the job that waits, and name no other: it may be private. How many are
# before it changes with each that starts, and each change would be a write.
BEHIND = "waits behind the jobs before it; `alexnet cluster` shows the queue"
UNPLACED = "waits until a job that began before it has the devices that it was given"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What follows for everyone who waits."""

    admitted: Sequence[str]
    """Who may start now, in order."""
    waiting: Mapping[str, str]
    """Why each of the others waits."""
    too_large: frozenset[str]
    """Who of them waits for nodes that the cluster does not have."""
    preempted: Mapping[str, str] = field(default_factory=dict)
    """Who is to pause, and for whom."""
    without_room: frozenset[str] = frozenset()
    """Active jobs that Ray has yet to place and cannot, beside what is held now."""
    first: str | None = None
    """Whom those behind it wait for."""


def admit(
    cluster: Cluster,
    active: Sequence[ActiveJob],
    queue: Sequence[WaitingJob],
    policy: QueuePolicy,
    *,
    limits: Mapping[str, int],
    now: float,
) -> Admission:
    """Decide over a queue in its order. `limits`: active jobs that owners may have by their quota.

    Takes time in proportion to jobs and to nodes, not to their product.
    """
    whole = Room(cluster.nodes)
    has = str(whole)
    most: dict[tuple[int, int], int] = {}
    beside = _room_beside(cluster, active, whole)
    room, unplaced, is_one_unplaced = beside.room, beside.unplaced, beside.is_one_unplaced
    owners = _Owners(active, limits, policy)
    num_active = len(active)
    admitted: list[str] = []
    reasons: dict[str, str] = {}
    too_large: set[str] = set()
    preempted: dict[str, str] = {}
    first: WaitingJob | None = None
    num_too_many = 0
    for job in queue:
        demand = job.demand
        shape = demand.cpus_per_replica, demand.gpus_per_replica
        if shape not in most:
            most[shape] = whole.num_bundles(demand)
        if most[shape] < demand.num_replicas:
            too_large.add(job.id)
            reasons[job.id] = f"needs {demand}; the whole cluster has {has}"
        elif (limit := owners.limit_reached(job.owner)) is not None:
            reasons[job.id] = _beyond(job.owner, limit)
        elif first is not None:
            reasons[job.id] = BEHIND
        elif policy.max_active_jobs is not None and num_active >= policy.max_active_jobs:
            first, num_too_many = job, num_active + 1 - policy.max_active_jobs
            reasons[job.id] = (
                f"waits for one to end: {num_active} jobs are at work, and "
                f"{policy.max_active_jobs} may be (ALEXNET_MAX_ACTIVE_JOBS)"
            )
        elif is_one_unplaced:
            first = job
            reasons[job.id] = UNPLACED
        elif (taken := room.take(demand)) is None:
            first = job
            reasons[job.id] = f"needs {demand}; free are {room}"
        elif not unplaced.leave_room_for(demand):
            room.give(taken)
            first = job
            reasons[job.id] = UNPLACED
        else:
            unplaced.add(demand)
            admitted.append(job.id)
            owners.add(job.owner)
            num_active += 1
    # Room that is made while one waits for its devices may go to that one.
    is_known = not is_one_unplaced and first is not None and unplaced.are_all_like(first.demand)
    if policy.preemption and first is not None and is_known:
        victims = choose_victims(
            *(room, beside.held, active, first),
            num_too_many=num_too_many,
            now=now,
            ageing_s=policy.ageing_s,
        )
        preempted = dict.fromkeys(victims, first.id)
    return Admission(
        admitted=tuple(admitted),
        waiting=reasons,
        too_large=frozenset(too_large),
        preempted=preempted,
        without_room=beside.without_room,
        first=None if first is None else first.id,
    )


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """What is left beside active jobs and others."""

    room: Room
    """What an attempt has been given and does not hold yet is kept for it."""
    unplaced: Unplaced
    held: dict[str, list[Taken]]
    """What each active job has of the nodes."""
    is_one_unplaced: bool
    """Whether there is no room for one that the cluster could have: then nothing more begins."""
    without_room: frozenset[str]


def _room_beside(cluster: Cluster, active: Sequence[ActiveJob], whole: Room) -> _Beside:
    """Return what is left for those that wait.

    An active job that leaves comes after the others and stops nobody: it may have let go of what it
    held, and not be gone yet.
    """
    room = Room(cluster.nodes)
    by_holder = cluster.by_holder()
    submissions = {job.submission_id for job in active}
    for holder, holdings in by_holder.items():
        if holder not in submissions:
            for holding in holdings:
                room.hold(holding)
    held: dict[str, list[Taken]] = {}
    missing: list[tuple[ActiveJob, int]] = []
    for job in active:
        own = by_holder.get(job.submission_id, ())
        held[job.id] = [taken for one in own if (taken := room.hold(one)) is not None]
        if num_missing := num_bundles_missing(job, own):
            missing.append((job, num_missing))
    free, is_one_unplaced, without_room = room.copy(), False, set()
    unplaced = Unplaced(free)
    for job, num_missing in sorted(missing, key=lambda one: claim(one[0]), reverse=True):
        if not job.is_leaving and free.num_bundles(job.demand) < num_missing:
            without_room.add(job.id)
        taken_again = room.take(job.demand, num_bundles=num_missing)
        if taken_again is not None:
            held[job.id].extend(taken_again)
            unplaced.add(job.demand, num_bundles=num_missing)
        elif not job.is_leaving and whole.num_bundles(job.demand) >= job.demand.num_replicas:
            is_one_unplaced = True
    return _Beside(
        room=room,
        unplaced=unplaced,
        held=held,
        is_one_unplaced=is_one_unplaced,
        without_room=frozenset(without_room),
    )


def num_bundles_missing(job: ActiveJob, own: Sequence[Holding]) -> int:
    """Count the bundles that an active job does not hold yet. `own`: what it holds."""
    demand = job.demand
    cpus, gpus = demand.cpus_per_replica, demand.gpus_per_replica
    num_held = sum(one.num_cpus >= cpus and one.num_gpus >= gpus for one in own)
    return max(demand.num_replicas - num_held, 0)


def claim(job: ActiveJob) -> tuple[bool, int, int, int]:
    """Return what active jobs are given room in the order of, the largest first."""
    demand = job.demand
    size = demand.gpus_per_replica, demand.cpus_per_replica, demand.num_replicas
    return not job.is_leaving, *size


def _beyond(owner: str | None, limit: int) -> str:
    if limit == 0:
        return f"waits: {owner} may have no job at work (quota max_active_jobs or gpu_hours)"
    jobs = "one job" if limit == 1 else f"{limit} jobs"
    return f"waits for one to end: {owner} has {jobs} at work, as many as they may (quota)"


class _Owners:
    """How many active jobs each owner has, and may have. Who is nobody has no limit."""

    def __init__(
        self, active: Sequence[ActiveJob], limits: Mapping[str, int], policy: QueuePolicy
    ) -> None:
        self._limits = limits
        self._default = policy.max_active_jobs_per_owner
        self._num_active: dict[str, int] = {}
        for job in active:
            self.add(job.owner)

    def add(self, owner: str | None) -> None:
        if owner is not None:
            self._num_active[owner] = self._num_active.get(owner, 0) + 1

    def limit_reached(self, owner: str | None) -> int | None:
        """Return the owner's limit if they may have no further job."""
        if owner is None:
            return None
        limit = self._limits.get(owner, self._default)
        return limit if limit is not None and self._num_active.get(owner, 0) >= limit else None
