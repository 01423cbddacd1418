"""When a job would start: the queue's own decision, run forward on a virtual clock. Pure.

Nothing else comes, no attempt fails, and to begin or to leave takes no time. Gangs fill node after
node, which Ray alone decides. Times are seconds of one clock.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.scheduling.admission import Admission, admit, claim, num_bundles_missing
from service.scheduling.preemption import UNDISTURBED_S
from service.scheduling.queue import ActiveJob, QueuePolicy, WaitingJob, in_order
from service.scheduling.room import Cluster, Holding, Room

# Of jobs, of moments at which anything happens, and of what decisions look through: jobs, nodes and
# what is held. Beyond these nothing is foreseen, so that a plan costs the control plane tenths of a
# second of its processor (measured: some 5 us for each that is looked through).
MAX_JOBS = 250
MAX_MOMENTS = 250
MAX_LOOKED_THROUGH = 100_000
# Beyond the moment from which on a job may be asked to make room, as sums of floats are not exact.
_JUST_AFTER_S = 0.001


@dataclass(frozen=True, kw_only=True)
class Course:
    """A job, and how it goes on."""

    job: WaitingJob | ActiveJob
    """One that waits comes when its turn begins."""
    work_s: float | None
    """How long it takes once it has its devices; None: not known."""
    ends_by: float = math.inf
    """Its deadline, by which it is ended, done or not."""
    comes_back: bool = False
    """Whether it queues again when it leaves."""
    begins_again: bool = False
    """Whether what it did is lost when it leaves: how long it takes then is not known."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What becomes of one job."""

    starts_at: float | None
    why: str = ""
    """Why it does not start, as far as this is foreseen."""
    num_ended: int = 0
    """Others that end before."""
    num_unknown: int = 0
    """Others that time went by with at work before, of which it is not known how long they take.

    Without any the start does not depend on that.
    """


def forecast(
    job_id: str,
    courses: Sequence[Course],
    cluster: Cluster,
    policy: QueuePolicy,
    *,
    limits: Mapping[str, int],
    now: float,
    unknown_s: float = math.inf,
) -> Forecast:
    """Return when one of the jobs, which waits, starts.

    `limits` as in `admit`; `unknown_s`: for how long jobs go on of which it is not known.
    """
    world = _World(courses, cluster, policy, limits=limits, now=now, unknown_s=unknown_s)
    return world.run(job_id)


@dataclass(kw_only=True)
class _Job:
    course: Course
    scheduled: WaitingJob | ActiveJob
    """As the queue sees it."""
    unknown_s: float
    """For how long it goes on where that is not known."""
    work_s: float | None
    """What it has left to do; None: not known."""
    has_devices_since: float | None = None
    holdings: list[Holding] = field(default_factory=list)
    ends_at: float = math.inf
    """When it ends if nobody has it go; math.inf: never, as far as is known."""

    @property
    def is_active(self) -> bool:
        return isinstance(self.scheduled, ActiveJob)

    def begin(self, now: float) -> None:
        """Have it be given an attempt."""
        turn, known = self.scheduled.turn, self.course.job
        self.scheduled = ActiveJob(
            id=known.id,
            owner=known.owner,
            demand=known.demand,
            turn=replace(turn, waited_s=turn.waited_s + now - turn.since),
            submission_id=known.submission_id if isinstance(known, ActiveJob) else known.id,
            is_leaving=False,
            runs_since=None,
        )

    def have_devices(self, now: float) -> None:
        """Have it begin its work."""
        assert isinstance(self.scheduled, ActiveJob)
        self.holdings = _by_node(self.holdings)
        self.has_devices_since = now
        work_s = self.unknown_s if self.work_s is None else self.work_s
        self.ends_at = min(now + work_s, self.course.ends_by)
        if self.scheduled.runs_since is None:
            self.scheduled = replace(self.scheduled, runs_since=now)

    def wait(self, now: float) -> None:
        """Have it queue again, with what it has left to do."""
        if self.course.begins_again:
            self.work_s = None
        elif self.work_s is not None and self.has_devices_since is not None:
            self.work_s -= now - self.has_devices_since
        known = self.scheduled
        self.scheduled = WaitingJob(
            id=known.id,
            owner=known.owner,
            demand=known.demand,
            turn=replace(known.turn, since=now),
        )
        self.has_devices_since, self.holdings, self.ends_at = None, [], self.course.ends_by


class _World:
    """Jobs and what they hold, at a moment."""

    def __init__(
        self,
        courses: Sequence[Course],
        cluster: Cluster,
        policy: QueuePolicy,
        *,
        limits: Mapping[str, int],
        now: float,
        unknown_s: float,
    ) -> None:
        self._nodes, self._policy, self._limits, self._now = cluster.nodes, policy, limits, now
        held = dict(cluster.by_holder())
        self._jobs: dict[str, _Job] = {}
        for course in courses:
            job = _Job(
                course=course,
                scheduled=course.job,
                unknown_s=unknown_s,
                work_s=course.work_s,
                ends_at=course.ends_by,
            )
            if isinstance(course.job, ActiveJob):
                job.holdings.extend(held.pop(course.job.submission_id, ()))
            self._jobs[course.job.id] = job
        self._foreign = _by_node(one for own in held.values() for one in own)
        """What is held by others, whose end nobody knows."""
        self._num_ended = self._num_looked_through = 0
        self._unknown: set[str] = set()
        """Of those that were at work while time went by, whose ends nobody knows."""

    def run(self, job_id: str) -> Forecast:
        """Let time go on until the job starts, or nothing more is known to happen."""
        for job in list(self._jobs.values()):
            if isinstance(job.scheduled, ActiveJob) and job.scheduled.is_leaving:
                self._leave(job, comes_back=job.course.comes_back)
        for _ in range(MAX_MOMENTS):
            self._end_what_is_over()
            if job_id not in self._jobs:
                return self._told(None, "it is ended by its deadline before")
            admission = self._decide(job_id)
            if admission is None:
                why = "too much is to be gone through: jobs, nodes and what is held"
                return self._told(None, why)
            if job_id in admission.admitted:
                return self._told(self._now)
            self._unknown.update(
                job.course.job.id
                for job in self._jobs.values()
                if job.is_active and job.work_s is None
            )
            moment = min(self._moments(admission), default=math.inf)
            if moment == math.inf:
                return self._told(None, admission.waiting.get(job_id, ""))
            self._now = max(self._now, moment)
        return self._told(None, f"more than {MAX_MOMENTS:,} things happen before")

    def _told(self, starts_at: float | None, why: str = "") -> Forecast:
        return Forecast(
            starts_at=starts_at,
            why=why,
            num_ended=self._num_ended,
            num_unknown=len(self._unknown),
        )

    def _end_what_is_over(self) -> None:
        for job in [one for one in self._jobs.values() if one.ends_at <= self._now]:
            del self._jobs[job.course.job.id]
            self._num_ended += job.is_active

    def _decide(self, job_id: str) -> Admission | None:
        """Have all begin who may now, up to the job itself; return the last decision.

        None: more was looked through than is allowed.
        """
        while True:
            num_held = len(self._foreign) + sum(len(job.holdings) for job in self._jobs.values())
            self._num_looked_through += len(self._jobs) + len(self._nodes) + num_held
            if self._num_looked_through > MAX_LOOKED_THROUGH:
                return None
            self._place()
            waiting = [
                one
                for job in self._jobs.values()
                if isinstance(one := job.scheduled, WaitingJob) and one.turn.since <= self._now
            ]
            admission = admit(
                self._cluster(),
                self._active(),
                in_order(waiting, self._policy),
                self._policy,
                limits=self._limits,
                now=self._now,
            )
            if job_id in admission.admitted or not (admission.admitted or admission.preempted):
                return admission
            for admitted in admission.admitted:
                self._jobs[admitted].begin(self._now)
            for victim in admission.preempted:
                self._leave(self._jobs[victim], comes_back=True)

    def _place(self) -> None:
        """Give devices to those that have none yet, the largest first, where there is room."""
        lacking = [
            job.scheduled
            for job in self._jobs.values()
            if isinstance(job.scheduled, ActiveJob) and job.has_devices_since is None
        ]
        if not lacking:
            return
        room = Room(self._nodes)
        for holding in self._cluster().holdings:
            room.hold(holding)
        for one in sorted(lacking, key=claim, reverse=True):
            job = self._jobs[one.id]
            num_bundles = num_bundles_missing(one, job.holdings)
            placed = room.place(one.demand, one.submission_id, num_bundles=num_bundles)
            if placed is not None:
                job.holdings.extend(placed)
                job.have_devices(self._now)

    def _leave(self, job: _Job, *, comes_back: bool) -> None:
        if comes_back:
            job.wait(self._now)
        else:
            del self._jobs[job.course.job.id]

    def _moments(self, admission: Admission) -> Iterator[float]:
        """Yield when something happens next, by itself or because a job may then be asked to go."""
        for job in self._jobs.values():
            yield job.ends_at
            if not job.is_active and job.scheduled.turn.since > self._now:
                yield job.scheduled.turn.since
        if self._policy.preemption and admission.first is not None:
            blocked = self._jobs[admission.first].scheduled
            for one in self._active():
                at = _may_go_from(one, blocked, self._policy.ageing_s)
                if at > self._now:
                    yield at

    def _active(self) -> list[ActiveJob]:
        """Return who is at work; what their turns would be now is asked only to stop them."""
        found = [
            job.scheduled
            if job.has_devices_since is None
            # It lacks none, and what it has is no longer told bundle by bundle.
            else replace(job.scheduled, demand=replace(job.scheduled.demand, num_replicas=1))
            for job in self._jobs.values()
            if isinstance(job.scheduled, ActiveJob)
        ]
        if not self._policy.preemption:
            return found
        return [replace(one, turn=replace(one.turn, since=self._now)) for one in found]

    def _cluster(self) -> Cluster:
        own = (one for job in self._jobs.values() for one in job.holdings)
        return Cluster(nodes=self._nodes, holdings=[*self._foreign, *own])


def _by_node(holdings: Iterable[Holding]) -> list[Holding]:
    """Return what is held of each node in all: wide gangs are looked through at each decision."""
    found: dict[str, Holding] = {}
    for one in holdings:
        before = found.get(one.node_id)
        found[one.node_id] = (
            one
            if before is None
            else replace(
                one,
                num_cpus=before.num_cpus + one.num_cpus,
                num_gpus=before.num_gpus + one.num_gpus,
            )
        )
    return list(found.values())


def _may_go_from(job: ActiveJob, blocked: ActiveJob | WaitingJob, ageing_s: float) -> float:
    """Return from when on a job may be asked to make room (`preemption`)."""
    if job.runs_since is None or job.turn.priority >= blocked.turn.priority:
        return -math.inf
    # From then on it would queue behind the one that it makes room for.
    behind_from = blocked.turn.key(ageing_s)[0] - replace(job.turn, since=0.0).key(ageing_s)[0]
    return max(job.runs_since + UNDISTURBED_S, behind_from) + _JUST_AFTER_S
