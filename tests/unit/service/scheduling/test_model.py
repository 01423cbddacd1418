"""A scheduler among nodes that come and go, jobs of several owners, and others on the cluster."""

import re
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from service.scheduling.admission import Admission, admit
from service.scheduling.placement import Demand, Node
from service.scheduling.preemption import UNDISTURBED_S
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob, in_order
from service.scheduling.room import Cluster, Holding
from tests.unit.service.scheduling import slow

# A power of two: priorities of whole seconds are exact, so that equal ones are equal to both.
AGEING_S = 4096.0
ROUND_S = 512.0
OWNERS = ("ann", "bob", None)
PRIORITIES = st.integers(-1, 2)
demands = st.builds(
    Demand,
    num_replicas=st.integers(1, 3),
    cpus_per_replica=st.integers(1, 2),
    gpus_per_replica=st.sampled_from([0, 1, 2, 2]),
)
node_sizes = st.tuples(st.integers(1, 6).map(float), st.sampled_from([0.0, 2.0, 3.0, 4.0]))


@dataclass
class Job:
    """A job as the model follows it."""

    seq: int
    owner: str | None
    priority: int
    demand: Demand
    since: float
    waited_s: float = 0.0
    is_active: bool = False
    is_leaving: bool = False
    has_let_go: bool = False
    runs_since: float | None = None
    num_attempts: int = 0
    made_room_for: str | None = None
    lets_others_go_first_until: float = 0.0
    bundles: list[Holding] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"j{self.seq}"

    def turn(self, since: float) -> Turn:
        return Turn(priority=self.priority, since=since, waited_s=self.waited_s, seq=self.seq)


class Scheduler(RuleBasedStateMachine):
    """Decisions are compared with slow ones and carried out, late, by a Ray that packs anyhow."""

    @initialize(
        sizes=st.lists(node_sizes, min_size=1, max_size=3),
        preemption=st.booleans(),
        most=st.sampled_from([None, 2, 4]),
        most_each=st.sampled_from([None, 1, 2]),
        seed=st.integers(0, 2**16),
    )
    def begin(
        self,
        sizes: list[tuple[float, float]],
        preemption: bool,
        most: int | None,
        most_each: int | None,
        seed: int,
    ) -> None:
        self.random = Random(seed)
        self.is_disturbed = False
        """Whether something may have taken room that was kept for gangs yet to be placed."""
        self.now = 0.0
        self.nodes: list[Node] = []
        self.num_nodes = 0
        for size in sizes:
            self.add_node(size)
        self.jobs: dict[str, Job] = {}
        self.foreign: list[Holding] = []
        self.limits: dict[str, int] = {}
        self.num_jobs = 0
        self.policy = QueuePolicy(
            ageing_s=AGEING_S,
            max_active_jobs=most,
            max_active_jobs_per_owner=most_each,
            preemption=preemption,
        )

    @rule(owner=st.sampled_from(OWNERS), priority=PRIORITIES, demand=demands)
    def submit(self, owner: str | None, priority: int, demand: Demand) -> None:
        self.num_jobs += 1
        job = Job(self.num_jobs, owner, priority, demand, since=self.now)
        self.jobs[job.id] = job

    @rule(seconds=st.sampled_from([1.0, 400.0, 5000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ray_places()
        for job in self.active():
            if job.bundles and job.runs_since is None and not job.is_leaving:
                job.runs_since = self.now

    @rule(size=node_sizes)
    def add_node(self, size: tuple[float, float]) -> None:
        if len(self.nodes) < 4:
            self.num_nodes += 1
            cpus, gpus = size
            self.nodes.append(Node(id=f"n{self.num_nodes}", num_cpus=cpus, num_gpus=gpus))

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def lose_node(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(self.nodes))
        self.nodes.remove(lost)
        self.is_disturbed = True
        self.foreign = [one for one in self.foreign if one.node_id != lost.id]
        for job in self.active():
            if any(one.node_id == lost.id for one in job.bundles):
                self.end_attempt(job)

    @rule(data=st.data(), gpus=st.sampled_from([0, 1, 2]))
    def another_takes(self, data: st.DataObject, gpus: int) -> None:
        free = slow.free_beside(self.nodes, self.cluster().holdings)
        wanted = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=gpus)
        room = [node for node in free if slow.place([node], wanted) is not None]
        if room:
            node = data.draw(st.sampled_from(room))
            self.is_disturbed = True
            self.foreign.append(
                Holding(node_id=node.id, holder="another", num_cpus=1, num_gpus=gpus)
            )

    @precondition(lambda self: self.foreign)
    @rule(data=st.data())
    def another_leaves(self, data: st.DataObject) -> None:
        self.foreign.remove(data.draw(st.sampled_from(self.foreign)))

    @rule(owner=st.sampled_from(["ann", "bob"]), limit=st.integers(0, 2))
    def limit_owner(self, owner: str, limit: int) -> None:
        self.limits[owner] = limit

    @precondition(lambda self: self.active())
    @rule(data=st.data(), succeeds=st.booleans())
    def end(self, data: st.DataObject, succeeds: bool) -> None:
        job = data.draw(st.sampled_from(self.active()))
        if succeeds:
            del self.jobs[job.id]
        else:
            self.end_attempt(job)

    @precondition(lambda self: any(job.is_leaving for job in self.active()))
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        """Give back the devices before the attempt has ended, as drivers do."""
        leaving = data.draw(st.sampled_from([job for job in self.active() if job.is_leaving]))
        leaving.bundles, leaving.has_let_go = [], True

    @precondition(lambda self: any(self.may_stall(job) for job in self.active()))
    @rule(data=st.data(), wait_s=st.sampled_from([60.0, 900.0]))
    def stall(self, data: st.DataObject, wait_s: float) -> None:
        """Send back to the queue what Ray does not place, for reasons that nobody is told."""
        stalled = data.draw(st.sampled_from([job for job in self.active() if self.may_stall(job)]))
        self.end_attempt(stalled)
        stalled.lets_others_go_first_until = self.now + wait_s

    def may_stall(self, job: Job) -> bool:
        return not (job.bundles or job.is_leaving)

    @rule()
    def checkpoint(self) -> None:
        """Let everyone who was told to leave do so."""
        for job in self.active():
            if job.is_leaving:
                self.end_attempt(job)

    @rule()
    def ray_places(self) -> None:
        """Place gangs that fit, whole, on any nodes; what another took meanwhile is waited for."""
        for job in self.random.sample(self.active(), len(self.active())):
            free = slow.free_beside(self.nodes, self.cluster().holdings)
            if job.bundles or job.has_let_go:
                continue
            if (left := slow.place_anywhere(free, job.demand, self.random)) is None:
                # It was begun because there is room for it, whatever Ray does with the others.
                assert self.is_disturbed or job.is_leaving
                continue
            # For one that leaves no room is kept where there is too little.
            self.is_disturbed |= job.is_leaving
            for before, after in zip(free, left, strict=True):
                cpus = before.num_cpus - after.num_cpus
                for _ in range(int(cpus // job.demand.cpus_per_replica)):
                    job.bundles.append(
                        Holding(
                            node_id=before.id,
                            holder=f"{job.id}-{job.num_attempts}",
                            num_cpus=job.demand.cpus_per_replica,
                            num_gpus=job.demand.gpus_per_replica,
                        )
                    )
            assert len(job.bundles) == job.demand.num_replicas
        if all(job.bundles or job.has_let_go for job in self.active()):
            self.is_disturbed = False

    @rule()
    def decide(self) -> None:
        cluster, active = self.cluster(), self.active_jobs()
        waiting = self.waiting_jobs()
        queue = in_order(waiting, self.policy)
        admission = admit(cluster, active, queue, self.policy, limits=self.limits, now=self.now)
        expected = slow.admitted(
            cluster, active, waiting, self.policy, limits=self.limits, now=self.now
        )
        assert list(admission.admitted) == expected
        self.check_queue(admission)
        self.check_limits(admission)
        self.check_preemption(admission)
        for job_id in admission.admitted:
            job = self.jobs[job_id]
            job.waited_s += self.now - job.since
            job.is_active, job.since, job.made_room_for = True, self.now, None
            job.num_attempts += 1
        for victim, for_job in admission.preempted.items():
            self.jobs[victim].is_leaving = True
            self.jobs[victim].made_room_for = for_job
        # What is held is never more than there is.
        for node in slow.free_beside(self.nodes, self.cluster().holdings):
            assert node.num_cpus >= 0
            assert node.num_gpus >= 0

    def check_queue(self, admission: Admission) -> None:
        """Everyone starts or is told why; nobody is passed over but for what is foreseen."""
        waiting = self.waiting_jobs()
        told = [*admission.admitted, *admission.waiting]
        assert sorted(told) == sorted(job.id for job in waiting)
        ranks = {job.id: job.turn.key(AGEING_S) for job in waiting}
        last = max((ranks[job_id] for job_id in admission.admitted), default=None)
        for job_id, why in admission.waiting.items():
            assert why
            # It is stored with the job, whose readers may not know of others.
            assert not [one for one in self.jobs if re.search(rf"\b{one}\b", why)]
            if last is not None and ranks[job_id] < last:
                assert "the whole cluster has" in why or "(quota" in why

    def check_limits(self, admission: Admission) -> None:
        jobs = [*self.active(), *(self.jobs[one] for one in admission.admitted)]
        if self.policy.max_active_jobs is not None and admission.admitted:
            assert len(jobs) <= self.policy.max_active_jobs
        for owner in {self.jobs[one].owner for one in admission.admitted} - {None}:
            assert owner is not None
            limit = self.limits.get(owner, self.policy.max_active_jobs_per_owner)
            assert limit is None or [job.owner for job in jobs].count(owner) <= limit

    def check_preemption(self, admission: Admission) -> None:
        """Lower priorities alone make room, after a while of work, and none of them in vain."""
        victims = {self.jobs[one].id for one in admission.preempted}
        if not victims:
            return
        assert self.policy.preemption
        (for_job,) = set(admission.preempted.values())
        blocked = self.jobs[for_job]
        for victim in (self.jobs[one] for one in victims):
            assert victim.priority < blocked.priority
            assert victim.runs_since is not None
            assert self.now - victim.runs_since >= UNDISTURBED_S
            # It comes back behind the one that it makes room for.
            assert victim.turn(self.now).key(AGEING_S) > blocked.turn(blocked.since).key(AGEING_S)
        leaving = {job.id for job in self.active() if job.is_leaving}
        started = set(admission.admitted)
        assert self.fits_without(blocked, leaving | victims, started)
        for victim_id in victims:
            assert not self.fits_without(blocked, leaving | victims - {victim_id}, started)

    def fits_without(self, blocked: Job, gone: set[str], started: set[str]) -> bool:
        num_left = len({job.id for job in self.active()} - gone) + len(started)
        if self.policy.max_active_jobs is not None and num_left >= self.policy.max_active_jobs:
            return False
        cluster = self.cluster()
        stay = [job for job in self.active_jobs() if job.id not in gone]
        names = {f"{job}-{self.jobs[job].num_attempts}" for job in gone}
        held = [one for one in cluster.holdings if one.holder not in names]
        free = slow.free_beside(self.nodes, held)
        empty = slow.free_beside(self.nodes, [])
        pending = sorted(stay, key=slow.claim, reverse=True)
        begun = [job for job in self.waiting_jobs() if job.id in started]
        queue: list[ActiveJob | WaitingJob] = [*pending, *in_order(begun, self.policy)]
        for job in queue:
            missing = job.demand.num_replicas
            if isinstance(job, ActiveJob):
                missing = slow.num_missing(job, cluster)
            left = slow.place(free, replace(job.demand, num_replicas=missing))
            if left is not None:
                free = left
            else:
                assert slow.place(empty, job.demand) is None
        return slow.place(free, blocked.demand) is not None

    def teardown(self) -> None:
        """Others keep arriving, and everyone who fits the cluster by itself has their turn."""
        if not hasattr(self, "jobs"):
            return
        self.foreign, self.limits = [], {}
        empty = slow.free_beside(self.nodes, [])
        before = {
            job.id: job.num_attempts
            for job in self.jobs.values()
            if not job.is_active and slow.place(empty, job.demand) is not None
        }
        # In each round one at least begins, or gets the devices that it was given, and who comes
        # later is in front for so long at most as three steps of priority take.
        for _ in range(2 * len(self.jobs) + int(3 * AGEING_S / ROUND_S) + 2):
            self.checkpoint()
            self.submit(None, 2, Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0))
            self.decide()
            self.wait(ROUND_S)
            for job in self.active():
                if job.bundles or slow.place(empty, job.demand) is None:
                    del self.jobs[job.id]
        later = {job.id: job.num_attempts for job in self.jobs.values()}
        assert not before.items() & later.items()

    def end_attempt(self, job: Job) -> None:
        job.is_active = job.is_leaving = job.has_let_go = False
        job.runs_since, job.bundles, job.since = None, [], self.now

    def active(self) -> list[Job]:
        return [job for job in getattr(self, "jobs", {}).values() if job.is_active]

    def active_jobs(self) -> list[ActiveJob]:
        return [
            ActiveJob(
                id=job.id,
                owner=job.owner,
                demand=job.demand,
                turn=job.turn(self.now),
                submission_id=f"{job.id}-{job.num_attempts}",
                is_leaving=job.is_leaving,
                runs_since=job.runs_since,
            )
            for job in self.active()
        ]

    def waiting_jobs(self) -> list[WaitingJob]:
        return [
            WaitingJob(id=job.id, owner=job.owner, demand=job.demand, turn=job.turn(job.since))
            for job in self.jobs.values()
            if not job.is_active and job.lets_others_go_first_until <= self.now
        ]

    def cluster(self) -> Cluster:
        jobs = getattr(self, "jobs", {}).values()
        own = [one for job in jobs for one in job.bundles]
        return Cluster(nodes=self.nodes, holdings=[*own, *self.foreign])


TestScheduler = Scheduler.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
