"""When a job would start: the queue's own decision, run forward on a virtual clock. Pure.

Nothing else comes, no attempt fails, and to begin or to leave takes no time. Gangs fill node after
node, which Ray alone decides. Times are seconds of one clock.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.scheduling.admission import Admission, admit, claim, num_bundles_missing
from service.scheduling.preemption import UNDISTURBED_S
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob, in_order
from service.scheduling.room import Cluster, Holding, Room

# Of jobs, and of moments at which anything happens: beyond these nothing is foreseen, so that a
# plan costs the control plane some tenths of a second at most.
MAX_JOBS = 500
MAX_MOMENTS = 500
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


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What becomes of one job."""

    starts_at: float | None
    why: str = ""
    """Why it does not start, as far as this is foreseen."""
    num_ended: int = 0
    """Others that end before."""
    num_unknown_ended: int = 0
    """Those of them of which it is not known how long they take: their deadlines ended them."""
    num_unknown: int = 0
    """Others at work then of which it is not known how long they take."""


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
    left_s: float
    turn: Turn
    is_active: bool
    runs_since: float | None = None
    """Since when it has its devices."""
    counts_since: float | None = None
    """Since when it does steps, as `ActiveJob` has it."""
    holdings: list[Holding] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.course.job.id

    @property
    def holder(self) -> str:
        job = self.course.job
        return job.submission_id if isinstance(job, ActiveJob) else job.id

    @property
    def ends_at(self) -> float:
        """When it ends if nobody else has it go; math.inf: never, as far as is known."""
        done_at = math.inf if self.runs_since is None else self.runs_since + self.left_s
        return min(done_at, self.course.ends_by)

    def active(self, now: float) -> ActiveJob:
        job = self.course.job
        return ActiveJob(
            id=job.id,
            owner=job.owner,
            demand=job.demand,
            turn=replace(self.turn, since=now),
            submission_id=self.holder,
            is_leaving=False,
            runs_since=self.counts_since,
        )

    def waiting(self) -> WaitingJob:
        job = self.course.job
        return WaitingJob(id=job.id, owner=job.owner, demand=job.demand, turn=self.turn)


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
            job = course.job
            work_s = unknown_s if course.work_s is None else course.work_s
            one = _Job(course=course, left_s=work_s, turn=job.turn, is_active=False)
            if isinstance(job, ActiveJob):
                own = held.pop(job.submission_id, ())
                one.is_active, one.counts_since, one.holdings = True, job.runs_since, list(own)
            self._jobs[job.id] = one
        self._foreign = [one for own in held.values() for one in own]
        """What is held by others, whose end nobody knows."""
        self._num_ended = self._num_unknown_ended = 0

    def run(self, job_id: str) -> Forecast:
        """Let time go on until the job starts, or nothing more is known to happen."""
        for job in list(self._jobs.values()):
            if isinstance(job.course.job, ActiveJob) and job.course.job.is_leaving:
                self._leave(job)
        for _ in range(MAX_MOMENTS):
            self._end_what_is_over()
            if job_id not in self._jobs:
                return self._told(None, "it is ended by its deadline before")
            admission = self._decide(job_id)
            if job_id in admission.admitted:
                return self._told(self._now)
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
            num_unknown_ended=self._num_unknown_ended,
            num_unknown=sum(
                job.is_active and job.course.work_s is None for job in self._jobs.values()
            ),
        )

    def _end_what_is_over(self) -> None:
        for job in list(self._jobs.values()):
            if job.ends_at <= self._now:
                del self._jobs[job.id]
                self._num_ended += job.is_active
                self._num_unknown_ended += job.is_active and job.left_s == math.inf

    def _decide(self, job_id: str) -> Admission:
        """Have all begin who may now, up to the job itself; return the last decision."""
        while True:
            self._place()
            waiting = [
                job.waiting()
                for job in self._jobs.values()
                if not job.is_active and job.turn.since <= self._now
            ]
            admission = admit(
                self._cluster(),
                [job.active(self._now) for job in self._active()],
                in_order(waiting, self._policy),
                self._policy,
                limits=self._limits,
                now=self._now,
            )
            if job_id in admission.admitted or not (admission.admitted or admission.preempted):
                return admission
            for one in admission.admitted:
                self._begin(self._jobs[one])
            for one in admission.preempted:
                self._leave(self._jobs[one], comes_back=True)

    def _place(self) -> None:
        """Give devices to those that have none yet, the largest first, where there is room."""
        room = Room(self._nodes)
        for holding in self._cluster().holdings:
            room.hold(holding)
        active = {job.id: job.active(self._now) for job in self._active() if job.runs_since is None}
        for one in sorted(active.values(), key=claim, reverse=True):
            job = self._jobs[one.id]
            num_bundles = num_bundles_missing(one, job.holdings)
            placed = room.place(one.demand, job.holder, num_bundles=num_bundles)
            if placed is not None:
                job.holdings.extend(placed)
                job.runs_since = self._now
                job.counts_since = self._now if job.counts_since is None else job.counts_since

    def _begin(self, job: _Job) -> None:
        job.turn = replace(job.turn, waited_s=job.turn.waited_s + self._now - job.turn.since)
        job.is_active = True

    def _leave(self, job: _Job, *, comes_back: bool | None = None) -> None:
        if not (job.course.comes_back if comes_back is None else comes_back):
            del self._jobs[job.id]
            return
        if job.runs_since is not None:
            job.left_s -= self._now - job.runs_since
        job.turn = replace(job.turn, since=self._now)
        job.is_active, job.runs_since, job.counts_since, job.holdings = False, None, None, []

    def _moments(self, admission: Admission) -> Iterator[float]:
        """Yield when something happens next, by itself or because a job may then be asked to go."""
        for job in self._jobs.values():
            yield job.ends_at
            if not job.is_active and job.turn.since > self._now:
                yield job.turn.since
        if self._policy.preemption and admission.first is not None:
            blocked = self._jobs[admission.first]
            for job in self._active():
                at = _may_go_from(job, blocked, self._policy.ageing_s)
                if at > self._now:
                    yield at

    def _active(self) -> list[_Job]:
        return [job for job in self._jobs.values() if job.is_active]

    def _cluster(self) -> Cluster:
        own = (one for job in self._jobs.values() for one in job.holdings)
        return Cluster(nodes=self._nodes, holdings=[*self._foreign, *own])


def _may_go_from(job: _Job, blocked: _Job, ageing_s: float) -> float:
    """Return from when on a job may be asked to make room (`preemption`)."""
    if job.counts_since is None or job.turn.priority >= blocked.turn.priority:
        return -math.inf
    # From then on it would queue behind the one that it makes room for.
    behind_from = blocked.turn.key(ageing_s)[0] - replace(job.turn, since=0.0).key(ageing_s)[0]
    return max(job.counts_since + UNDISTURBED_S, behind_from) + _JUST_AFTER_S
