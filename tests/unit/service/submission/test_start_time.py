"""When a job would start, from records of jobs, by their rates, plans and deadlines."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.caller import Ownership
from service.jobs.records import JobRecord
from service.scheduling.forecast import MAX_JOBS, Course
from service.scheduling.placement import Node
from service.scheduling.queue import ActiveJob, QueuePolicy
from service.scheduling.room import Cluster, Holding, Room
from service.scheduling.waiting import DRAINS
from service.submission.start import Situation, foresee_start
from service.submission.start_time import estimate_start
from service.views.plans import PlannedSpeed, PlannedStart, StartEstimate
from tests.unit.service.conftest import make_spec, progress
from tests.unit.service.scheduling.test_forecast import (
    NEW,
    node_lists,
    policies,
    queues,
)
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.status import ACTIVE, Desired, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = make_spec(scale={"cpus_per_replica": 2})
NODES = (Node(id="n", num_cpus=2, num_gpus=0),)


def job(
    job_id: str, status: Status = Status.QUEUED, *, spec: Any = BOTH, **fields: Any
) -> JobRecord:
    whole: dict[str, Any] = {
        "seq": 1,
        "desired": Desired.RUN,
        "attempt": 1,
        "num_failures": 0,
        "reason": None,
        "message": None,
        "created_at": NOW - timedelta(seconds=50),
        "status_since": NOW - timedelta(seconds=50),
        "started_at": None,
        "finished_at": None,
        "retry_at": None,
        "progress": None,
        "evaluation": None,
    } | fields
    return JobRecord(id=job_id, spec=spec, status=status, **whole)


def runs(job_id: str = "runs", *, left: int = 40, **fields: Any) -> JobRecord:
    """Return a job that runs for so many seconds more."""
    at = progress(100 - left, images_per_second=128.0)
    # All that is left is known: evaluations take no time.
    timed = evaluated("centre_crop", 0.0)
    return job(job_id, Status.RUNNING, progress=at, evaluation=timed, **fields)


def takes(duration_s: float | None) -> PlannedSpeed:
    return PlannedSpeed(images_per_second=1.0, duration_s=duration_s, like_job=None, basis="")


def foreseen(*live: JobRecord, spec: Any = BOTH, **fields: Any) -> PlannedStart:
    held = tuple(
        Holding(node_id="n", holder=f"{one.id}-1", num_cpus=2, num_gpus=0)
        for one in live
        if one.status in ACTIVE
    )
    situation = Situation(
        cluster=Cluster(nodes=NODES, holdings=held),
        live=live,
        accelerators={},
        policy=QueuePolicy(),
        limits={},
        is_draining=False,
        now=NOW,
        planned={},
    )
    return foresee_start(spec, replace(situation, **fields), of=Ownership(owner="ann"))


def estimated(*live: JobRecord, **fields: Any) -> StartEstimate:
    estimate = foreseen(*live, **fields).estimate
    assert estimate is not None
    return estimate


def test_what_fits_starts_now() -> None:
    estimate = estimated()
    assert (estimate.at, estimate.in_s) == (NOW, 0.0)
    assert estimate.basis.startswith("nothing has to end before; as if")


def test_a_job_starts_when_those_before_it_end_by_their_rates_and_plans() -> None:
    queued, lower = job("queued", seq=2), job("lower", seq=3)
    lower = replace(lower, spec=BOTH.model_copy(update={"priority": -1}))
    start = foreseen(runs(), queued, lower, planned={"queued": takes(60.0), "lower": takes(9.0)})
    assert start.when == "waits"
    assert [(one.id, one.seconds_left) for one in start.ahead] == [("runs", 40.0), ("queued", 60.0)]
    assert start.estimate is not None
    assert (start.estimate.at, start.estimate.in_s) == (NOW + timedelta(seconds=100), 100.0)
    assert start.estimate.basis.startswith("2 jobs before it, by their rates and plans; ")
    assert (start.estimate.earliest_at, start.estimate.latest_at) == (None, None)


def test_where_an_end_is_not_known_no_time_is_claimed() -> None:
    estimate = estimated(runs(), job("queued", seq=2))
    assert (estimate.at, estimate.in_s, estimate.latest_at) == (None, None, None)
    assert estimate.earliest_at == NOW + timedelta(seconds=40)
    assert estimate.basis.startswith("it is not known how long 1 of the jobs before or beside it")


def test_a_job_of_unknown_end_that_is_not_in_the_way_hides_no_time() -> None:
    behind = job("behind", seq=2, spec=BOTH.model_copy(update={"priority": -1}))
    assert estimated(runs(), behind).in_s == 40.0


def test_deadlines_bound_a_start_where_nothing_else_does() -> None:
    spec = make_spec(scale={"cpus_per_replica": 2}, retry={"deadline_s": 80.0})
    unknown = job("unknown", Status.RUNNING, spec=spec)
    estimate = estimated(unknown)
    assert (estimate.at, estimate.earliest_at) == (None, NOW)
    # Accepted 50 s ago; its attempt has two minutes to end in.
    assert estimate.latest_at == NOW + timedelta(seconds=80 - 50 + 120)
    # The new one's own comes before.
    short = make_spec(scale={"cpus_per_replica": 2}, retry={"deadline_s": 20.0})
    never = estimated(runs(), spec=short)
    assert never.at is None
    assert "its deadline" in never.basis


def test_one_that_is_tried_again_later_comes_then() -> None:
    retried = job("retried", Status.RETRYING, seq=1, retry_at=NOW + timedelta(seconds=10))
    higher = retried.spec.model_copy(update={"priority": 5})
    retried = replace(retried, spec=higher)
    planned = {"retried": takes(100.0)}
    assert estimated(runs(seq=2), retried, planned=planned).in_s == 140.0
    assert estimated(retried, planned=planned).in_s == 0.0


def test_one_that_pauses_for_another_comes_back() -> None:
    leaves = runs(preempted_by="other", spec=BOTH.model_copy(update={"priority": 5}))
    leaves = replace(leaves, checkpoint_step=60)
    assert estimated(leaves).in_s == 40.0
    paused = replace(leaves, preempted_by=None, status=Status.PAUSING, desired=Desired.PAUSE)
    assert estimated(paused).in_s == 0.0


def test_it_is_said_why_nothing_is_foreseen() -> None:
    foreign = Holding(node_id="n", holder="another", num_cpus=1, num_gpus=0)

    def why(*live: JobRecord, **fields: Any) -> str:
        estimate = estimated(*live, **fields)
        times = estimate.at, estimate.in_s, estimate.earliest_at, estimate.latest_at
        assert times == (None, None, None, None)
        return estimate.basis

    assert why(runs(), is_draining=True) == DRAINS
    assert "others on the cluster" in why(cluster=Cluster(nodes=NODES, holdings=[foreign]))
    assert "quota" in why(limits={"ann": 0})
    too_large = make_spec(scale={"cpus_per_replica": 3})
    assert "whole cluster" in why(spec=too_large)
    many = [job(f"j{seq}", seq=seq) for seq in range(MAX_JOBS)]
    assert f"more than {MAX_JOBS} jobs" in why(*many)


def test_a_job_of_unknown_end_beside_limits_of_owners_gives_no_time() -> None:
    """Whether it ends now or never the start is the same: between them it may be later."""
    spec = {cpus: make_spec(scale={"cpus_per_replica": cpus}) for cpus in (1, 2, 3)}
    unknown = job("unknown", Status.RUNNING, spec=spec[1], owner="x")
    known = runs("known", left=99, spec=spec[2])
    blocked = job("blocked", seq=2, spec=spec[2], owner="x")
    held = [
        Holding(node_id="n", holder=f"{one}-1", num_cpus=cpus, num_gpus=0)
        for one, cpus in (("unknown", 1), ("known", 2))
    ]
    cluster = Cluster(nodes=(Node(id="n", num_cpus=4, num_gpus=0),), holdings=held)
    fields = {"cluster": cluster, "spec": spec[3], "planned": {"blocked": takes(50.0)}}
    estimate = estimated(unknown, known, blocked, limits={"x": 1}, **fields)
    assert (estimate.at, estimate.earliest_at, estimate.latest_at) == (None, None, None)
    assert "it is not known how long 1 of the jobs before or beside it take" in estimate.basis
    assert estimated(unknown, known, limits={"x": 1}, **fields).in_s == 99.0


@given(data=st.data(), nodes=node_lists, policy=policies, preemption=st.booleans())
@settings(max_examples=600, deadline=None)
def test_what_is_told_holds_however_long_those_take_of_which_it_is_not_known(
    data: st.DataObject, nodes: list[Node], policy: QueuePolicy, preemption: bool
) -> None:
    policy = replace(policy, preemption=preemption)
    limits = data.draw(st.dictionaries(st.just("ann"), st.integers(0, 2)))
    courses = data.draw(queues(nodes=nodes, known=False))
    courses = [replace(one, begins_again=data.draw(st.booleans())) for one in courses]
    room, held = Room(nodes), list[Holding]()
    for one in courses:
        if isinstance(one.job, ActiveJob):
            held += room.place(one.job.demand, one.job.submission_id) or ()
    cluster = Cluster(nodes=nodes, holdings=held)
    start = datetime.fromtimestamp(0.0, UTC)

    def at(courses: list[Course]) -> StartEstimate:
        return estimate_start(NEW, courses, cluster, policy, limits=limits, now=start)

    told = at(courses)
    for _ in range(5):
        works = [data.draw(st.integers(1, 40)) if one.work_s is None else 0 for one in courses]
        in_truth = [
            replace(one, work_s=float(work_s)) if work_s else one
            for one, work_s in zip(courses, works, strict=True)
        ]
        truth = at(in_truth).at
        if told.at is not None:
            assert truth == told.at
        if told.earliest_at is not None and truth is not None:
            assert told.earliest_at <= truth
        if told.latest_at is not None:
            assert truth is not None
            assert truth <= told.latest_at


def test_what_an_attempt_that_is_over_was_seen_to_hold_is_free() -> None:
    held = [Holding(node_id="n", holder="over-1", num_cpus=2, num_gpus=0)]
    cluster = Cluster(nodes=NODES, holdings=held)
    assert estimated(cluster=cluster).at is None
    assert estimated(cluster=cluster, ended=frozenset({"over-1"})).in_s == 0.0


def test_it_is_foreseen_where_that_is_asked_alone() -> None:
    assert foreseen(runs(), planned=None).estimate is None
    unseen = foresee_start(BOTH, None, of=Ownership(owner="ann"), unseen="Ray is away").estimate
    assert unseen is not None
    assert (unseen.at, unseen.basis) == (None, "Ray is away")
