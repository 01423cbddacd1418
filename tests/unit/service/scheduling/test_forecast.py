"""When a job starts, as foreseen, against a slow cluster whose jobs take as long as was said."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.scheduling import forecast as forecasts
from service.scheduling.admission import Admission, admit
from service.scheduling.forecast import Course, Forecast, forecast
from service.scheduling.placement import Demand, Node
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob
from service.scheduling.room import Cluster, Holding
from tests.unit.service.scheduling import slow

AGEING_S = 16.0
NEW = "new"
LONGEST_S = 60
ONE = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)
owners = st.sampled_from(["ann", "bob", None])
demands = st.builds(
    Demand,
    num_replicas=st.integers(1, 2),
    cpus_per_replica=st.integers(1, 2),
    gpus_per_replica=st.sampled_from([0, 0, 1]),
)
turns = st.builds(
    Turn,
    priority=st.integers(-1, 2),
    since=st.integers(-20, 6).map(float),
    waited_s=st.integers(0, 9).map(float),
    seq=st.integers(0, 0),
)
works = st.none() | st.integers(0, 12).map(float)
deadlines = st.just(math.inf) | st.integers(1, LONGEST_S // 2).map(float)
policies = st.builds(
    QueuePolicy,
    ageing_s=st.just(AGEING_S),
    max_active_jobs=st.sampled_from([None, 1, 3]),
    max_active_jobs_per_owner=st.sampled_from([None, 1]),
)
node_lists = st.lists(
    st.tuples(st.integers(1, 4).map(float), st.sampled_from([0.0, 2.0])), min_size=1, max_size=2
).map(
    lambda sizes: [
        Node(id=f"n{number}", num_cpus=cpus, num_gpus=gpus)
        for number, (cpus, gpus) in enumerate(sizes)
    ]
)


def waiting(
    job_id: str, demand: Demand = ONE, *, seq: int, owner: str | None = None, priority: int = 0
) -> WaitingJob:
    turn = Turn(priority=priority, since=0.0, waited_s=0.0, seq=seq)
    return WaitingJob(id=job_id, owner=owner, demand=demand, turn=turn)


def active(
    job_id: str,
    demand: Demand = ONE,
    *,
    seq: int,
    priority: int = 0,
    is_leaving: bool = False,
    runs_since: float | None = 0.0,
) -> ActiveJob:
    return ActiveJob(
        id=job_id,
        owner=None,
        demand=demand,
        turn=Turn(priority=priority, since=0.0, waited_s=0.0, seq=seq),
        submission_id=f"{job_id}-1",
        is_leaving=is_leaving,
        runs_since=runs_since,
    )


@st.composite
def queues(draw: st.DrawFn, *, nodes: list[Node], known: bool) -> list[Course]:
    """Draw jobs at work, which fit together, jobs that wait, and the one that is asked about."""
    courses: list[Course] = []
    free = nodes
    for seq in range(draw(st.integers(0, 5))):
        job_id, demand = f"j{seq}", draw(demands)
        turn = replace(draw(turns), seq=seq)
        left = slow.place(free, demand)
        job: ActiveJob | WaitingJob
        if left is not None and draw(st.booleans()):
            free = left
            job = ActiveJob(
                id=job_id,
                owner=draw(owners),
                demand=demand,
                turn=turn,
                submission_id=f"{job_id}-1",
                is_leaving=False,
                runs_since=0.0,
            )
        else:
            job = WaitingJob(id=job_id, owner=draw(owners), demand=demand, turn=turn)
        work_s = draw(works.filter(lambda work: work is not None) if known else works)
        courses.append(Course(job=job, work_s=work_s, ends_by=draw(deadlines)))
    turn = replace(draw(turns), since=0.0, waited_s=0.0, seq=len(courses))
    new = WaitingJob(id=NEW, owner=draw(owners), demand=draw(demands), turn=turn)
    return [*courses, Course(job=new, work_s=None, ends_by=draw(deadlines))]


@dataclass
class Replayed:
    """A job of the slow cluster."""

    course: Course
    is_active: bool
    begun_at: float = 0.0
    bundles: list[Holding] = field(default_factory=list)


def replay(
    courses: list[Course], nodes: list[Node], policy: QueuePolicy, limits: dict[str, int]
) -> float | None:
    """Look at every second who ends and who may start, as the model of the scheduler decides."""
    jobs = {one.job.id: Replayed(one, isinstance(one.job, ActiveJob)) for one in courses}
    for now in map(float, range(2 * LONGEST_S)):
        while True:
            ended = [
                job_id
                for job_id, job in jobs.items()
                if now >= job.course.ends_by
                or (job.is_active and now >= job.begun_at + work_of(job.course))
            ]
            for job_id in ended:
                del jobs[job_id]
            if NEW not in jobs:
                return None
            place(jobs, nodes)
            begun = slow.admitted(
                Cluster(nodes=nodes, holdings=held(jobs)),
                [as_active(job, now) for job in jobs.values() if job.is_active],
                [
                    one.course.job
                    for one in jobs.values()
                    if isinstance(one.course.job, WaitingJob)
                    and not one.is_active
                    and one.course.job.turn.since <= now
                ],
                policy,
                limits=limits,
                now=now,
            )
            if NEW in begun:
                return now
            if not begun and not ended:
                break
            for job_id in begun:
                jobs[job_id].is_active, jobs[job_id].begun_at = True, now
    return None


def work_of(course: Course) -> float:
    return math.inf if course.work_s is None else course.work_s


def held(jobs: dict[str, Replayed]) -> list[Holding]:
    return [bundle for job in jobs.values() for bundle in job.bundles]


def place(jobs: dict[str, Replayed], nodes: list[Node]) -> None:
    pending = [job for job in jobs.values() if job.is_active and not job.bundles]
    for job in sorted(pending, key=lambda one: slow.claim(as_active(one, 0.0)), reverse=True):
        free, demand = slow.free_beside(nodes, held(jobs)), job.course.job.demand
        left = slow.place(free, demand)
        assert left is not None
        for before, after in zip(free, left, strict=True):
            num_bundles = round((before.num_cpus - after.num_cpus) / demand.cpus_per_replica)
            bundle = Holding(
                node_id=before.id,
                holder=as_active(job, 0.0).submission_id,
                num_cpus=demand.cpus_per_replica,
                num_gpus=demand.gpus_per_replica,
            )
            job.bundles += [bundle] * num_bundles


def as_active(job: Replayed, now: float) -> ActiveJob:
    one = job.course.job
    return ActiveJob(
        id=one.id,
        owner=one.owner,
        demand=one.demand,
        turn=replace(one.turn, since=now),
        submission_id=f"{one.id}-1",
        is_leaving=False,
        runs_since=job.begun_at,
    )


def foreseen(
    courses: list[Course],
    nodes: list[Node],
    policy: QueuePolicy | None = None,
    *,
    holdings: tuple[Holding, ...] = (),
    unknown_s: float = math.inf,
    limits: dict[str, int] | None = None,
) -> Forecast:
    cluster = Cluster(nodes=nodes, holdings=holdings)
    policy = policy or QueuePolicy(ageing_s=AGEING_S)
    return forecast(
        NEW, courses, cluster, policy, limits=limits or {}, now=0.0, unknown_s=unknown_s
    )


@given(data=st.data(), nodes=node_lists, policy=policies, known=st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_job_starts_when_the_slow_cluster_starts_it(
    data: st.DataObject, nodes: list[Node], policy: QueuePolicy, known: bool
) -> None:
    courses = data.draw(queues(nodes=nodes, known=known))
    limits = data.draw(st.dictionaries(st.just("ann"), st.integers(0, 2)))
    starts_at = foreseen(courses, nodes, policy, limits=limits).starts_at
    assert starts_at == replay(courses, nodes, policy, limits)


@given(data=st.data(), cpus=st.integers(1, 2))
@settings(deadline=None)
def test_where_one_runs_at_a_time_it_starts_when_all_that_go_first_have_ended(
    data: st.DataObject, cpus: int
) -> None:
    nodes = [Node(id="n", num_cpus=cpus, num_gpus=0.0)]
    whole = Demand(num_replicas=1, cpus_per_replica=cpus, gpus_per_replica=0)
    works_s = data.draw(st.lists(st.integers(0, 50).map(float), max_size=8))
    runs = data.draw(st.booleans())
    courses = [
        Course(
            job=active(f"j{seq}", whole, seq=seq)
            if runs and not seq
            else waiting(f"j{seq}", whole, seq=seq),
            work_s=work_s,
        )
        for seq, work_s in enumerate(works_s)
    ]
    new = Course(job=waiting(NEW, whole, seq=9), work_s=1.0)
    after = Course(job=waiting("after", whole, seq=10), work_s=1.0)
    found = foreseen([*courses, new, after], nodes)
    assert (found.starts_at, found.num_ended) == (sum(works_s), len(works_s))


@given(data=st.data())
@settings(deadline=None)
def test_on_one_node_jobs_of_unknown_end_bound_the_start(data: st.DataObject) -> None:
    """However long they take in truth, up to their deadlines, the start lies between."""
    nodes = [Node(id="n", num_cpus=3.0, num_gpus=0.0)]
    courses = data.draw(queues(nodes=nodes, known=False))
    # Where all wait already and nobody is passed over, who ends sooner delays nobody.
    courses = [
        replace(one, job=replace(one.job, owner=None, turn=replace(one.job.turn, since=-20.0)))
        for one in courses
    ]
    assume(all(one.job.demand.gpus_per_replica == 0 for one in courses))
    assume(all(slow.place(nodes, one.job.demand) is not None for one in courses))
    courses[-1] = replace(courses[-1], ends_by=math.inf)
    in_truth = [
        replace(one, work_s=float(data.draw(st.integers(0, 20)))) if one.work_s is None else one
        for one in courses
    ]
    starts_at = foreseen(in_truth, nodes).starts_at
    soonest, latest = foreseen(courses, nodes, unknown_s=0.0), foreseen(courses, nodes)
    assert soonest.starts_at is not None
    assert starts_at is not None
    assert soonest.starts_at <= starts_at
    assert latest.starts_at is None or starts_at <= latest.starts_at


def test_what_is_not_known_to_end_starts_nobody_unless_a_deadline_ends_it() -> None:
    nodes = [Node(id="n", num_cpus=1.0, num_gpus=0.0)]
    new = Course(job=waiting(NEW, seq=2), work_s=1.0)
    runs = Course(job=active("runs", seq=1), work_s=None)
    found = foreseen([runs, new], nodes)
    assert (found.starts_at, found.num_unknown) == (None, 1)
    assert found.why.startswith("needs 1 × (1 CPU); free are 0 CPU")
    found = foreseen([replace(runs, ends_by=30.0), new], nodes)
    assert (found.starts_at, found.num_unknown) == (30.0, 1)
    # One that only waits, behind it, is not asked for its end.
    ends = replace(runs, work_s=9.0)
    after = Course(job=waiting("after", seq=3), work_s=None)
    found = foreseen([ends, new, after], nodes)
    assert (found.starts_at, found.num_unknown) == (9.0, 0)
    found = foreseen([replace(runs, ends_by=30.0), replace(new, ends_by=20.0)], nodes)
    assert found.starts_at is None
    assert "its deadline" in found.why


def test_what_another_holds_is_never_given_back() -> None:
    nodes = [Node(id="n", num_cpus=1.0, num_gpus=0.0)]
    foreign = Holding(node_id="n", holder="another", num_cpus=1.0, num_gpus=0.0)
    courses = [Course(job=waiting(NEW, seq=1), work_s=1.0)]
    assert foreseen(courses, nodes, holdings=(foreign,)).starts_at is None
    assert foreseen(courses, nodes).starts_at == 0.0


def test_who_leaves_is_gone_and_may_come_back() -> None:
    nodes = [Node(id="n", num_cpus=1.0, num_gpus=0.0)]
    leaves = active("leaves", seq=1, priority=1, is_leaving=True)
    new = Course(job=waiting(NEW, seq=2), work_s=1.0)
    assert foreseen([Course(job=leaves, work_s=9.0), new], nodes).starts_at == 0.0
    back = Course(job=leaves, work_s=9.0, comes_back=True)
    assert foreseen([back, new], nodes).starts_at == 9.0


@pytest.mark.parametrize(
    ("waited_s", "goes_at", "starts_at"),
    [
        # It is left alone for its first five minutes. The one that waits goes before it then.
        (0.0, 200.0, 250.0),
        # It goes when it would queue behind the one that it makes room for, and comes back next.
        (1000.0, 984.0, 2050.0),
    ],
)
def test_who_makes_room_does_so_when_it_may_and_goes_on_afterwards(
    waited_s: float, goes_at: float, starts_at: float
) -> None:
    nodes = [Node(id="n", num_cpus=1.0, num_gpus=0.0)]
    policy = QueuePolicy(ageing_s=AGEING_S, preemption=True)
    lower = active("lower", seq=1, priority=-1, runs_since=-100.0)
    lower = replace(lower, turn=replace(lower.turn, waited_s=waited_s))
    first = Course(job=waiting("first", seq=2, priority=0), work_s=50.0)
    new = Course(job=waiting(NEW, seq=3, priority=-1), work_s=1.0)
    found = foreseen(
        [Course(job=lower, work_s=2000.0), replace(first, job=replace(first.job, id=NEW))],
        nodes,
        policy,
    )
    assert found.starts_at == pytest.approx(goes_at, abs=0.01)
    found = foreseen([Course(job=lower, work_s=2000.0), first, new], nodes, policy)
    assert found.starts_at == pytest.approx(starts_at, abs=0.01)
    # Where what it did is lost, it is not known for how long it is there again.
    again = Course(job=lower, work_s=2000.0, begins_again=True)
    found = foreseen([again, first, replace(new, ends_by=math.inf)], nodes, policy)
    comes_back_before = starts_at > 1000.0
    assert (found.starts_at is None) == comes_back_before
    assert found.num_unknown == comes_back_before


def test_a_forecast_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "MAX_MOMENTS", 3)
    nodes = [Node(id="n", num_cpus=1.0, num_gpus=0.0)]
    before = [Course(job=waiting(f"j{seq}", seq=seq), work_s=1.0) for seq in range(5)]
    found = foreseen([*before, Course(job=waiting(NEW, seq=9), work_s=1.0)], nodes)
    assert (found.starts_at, found.why) == (None, "more than 3 things happen before")


@given(num_nodes=st.integers(1, 40), width=st.integers(1, 40), num_waiting=st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_no_more_is_looked_through_than_is_set(
    num_nodes: int, width: int, num_waiting: int
) -> None:
    """Gangs as wide as nodes are there end one after another, and are looked through each time."""
    gang = Demand(num_replicas=width, cpus_per_replica=1, gpus_per_replica=0)
    nodes = [Node(id=f"n{one}", num_cpus=float(width), num_gpus=0.0) for one in range(num_nodes)]
    at_work = [
        Course(job=active(f"r{one}", gang, seq=one), work_s=float(one + 1))
        for one in range(num_nodes)
    ]
    held = tuple(
        Holding(node_id=f"n{one}", holder=f"r{one}-1", num_cpus=1.0, num_gpus=0.0)
        for one in range(num_nodes)
        for _ in range(width)
    )
    queue = [
        Course(job=waiting(f"w{one}", gang, seq=100 + one), work_s=1000.0)
        for one in range(num_waiting)
    ]
    whole = Demand(num_replicas=num_nodes * width, cpus_per_replica=1, gpus_per_replica=0)
    new = Course(job=waiting(NEW, whole, seq=999), work_s=1.0)
    most, looked_through = 3000, 0

    def counted(cluster: Cluster, *rest: Any, **options: Any) -> Admission:
        nonlocal looked_through
        looked_through += len(cluster.nodes) + len(cluster.holdings)
        return admit(cluster, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecasts, "MAX_LOOKED_THROUGH", most)
        patch.setattr(forecasts, "admit", counted)
        found = foreseen([*at_work, *queue, new], nodes, holdings=held)
    assert looked_through <= most
    if found.starts_at is None:
        assert "too much is to be gone through" in found.why
