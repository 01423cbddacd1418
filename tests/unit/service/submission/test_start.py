from dataclasses import replace
from datetime import timedelta

import pytest

from service.access.caller import Ownership
from service.jobs.records import JobRecord
from service.scheduling.placement import Node
from service.scheduling.preemption import UNDISTURBED_S
from service.scheduling.queue import QueuePolicy
from service.scheduling.room import Cluster, Holding
from service.scheduling.waiting import DRAINS
from service.store.store import Store
from service.submission.start import MAX_AHEAD, Situation, foresee_start
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.submission.test_duration import evaluated
from trainer.contract.status import Desired, Status

TWO_CORES = (Node(id="n", num_cpus=2, num_gpus=0),)
BOTH = make_spec(scale={"cpus_per_replica": 2})
NOBODYS = Ownership(owner=None)
# So that all that a job has left is known: its evaluations take no time.
TIMED = evaluated("centre_crop", 0.0)


def situation(*live: JobRecord, holdings: tuple[Holding, ...] = ()) -> Situation:
    return Situation(
        cluster=Cluster(nodes=TWO_CORES, holdings=holdings),
        live=live,
        accelerators={job.id: "cpu" for job in live},
        policy=QueuePolicy(),
        limits={},
        is_draining=False,
        now=now(),
    )


def test_without_a_cluster_nothing_is_known() -> None:
    start = foresee_start(BOTH, None, of=NOBODYS, unseen="Ray is away")
    assert (start.when, start.message, start.accelerator) == ("unknown", "Ray is away", None)


def test_what_is_free_is_had_now() -> None:
    start = foresee_start(BOTH, situation(), of=NOBODYS)
    assert (start.when, start.accelerator, start.ahead) == ("now", "cpu", ())


@pytest.mark.parametrize("scale", [{"replicas": 4}, {"accelerator": "gpu"}])
def test_what_the_whole_cluster_lacks_is_never_had(scale: dict[str, object]) -> None:
    start = foresee_start(make_spec(scale=scale), situation(), of=NOBODYS)
    assert start.when == "never"
    assert "whole cluster" in start.message


def test_jobs_that_run_or_go_first_are_named_with_their_time_left(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs", spec=BOTH)
    report(store, "runs", TIMED, progress(60, images_per_second=128.0))
    running = store.job("runs")
    queued = job_in(store, Status.QUEUED, "queued", spec=BOTH)
    lower = job_in(store, Status.QUEUED, "lower", spec=BOTH.model_copy(update={"priority": -1}))
    leaving = replace(queued, id="leaving", desired=Desired.CANCEL)
    start = foresee_start(BOTH, situation(running, queued, lower, leaving), of=NOBODYS)
    assert start.when == "waits"
    assert [(job.id, job.seconds_left) for job in start.ahead] == [("runs", 40.0), ("queued", None)]


def test_private_jobs_are_counted_and_named_only_where_all_who_see_the_plan_may_see_them(
    store: Store,
) -> None:
    running = replace(job_in(store, Status.RUNNING, "runs", spec=BOTH), owner="ann", private=True)
    beside = situation(running)

    def named(owner: str, *, private: bool) -> list[str | None]:
        of = Ownership(owner=owner, private=private)
        return [job.id for job in foresee_start(BOTH, beside, of=of).ahead]

    assert named("bob", private=True) == [None]
    assert named("ann", private=False) == [None]
    assert named("ann", private=True) == ["runs"]


def test_the_start_is_foreseen_as_the_queue_decides(store: Store) -> None:
    foreign = Holding(node_id="n", holder="another", num_cpus=1, num_gpus=0)
    start = foresee_start(BOTH, situation(holdings=(foreign,)), of=NOBODYS)
    assert start.when == "waits"
    assert start.message.endswith("free are 1 CPU and 0 GPU on 1 node")

    one = replace(job_in(store, Status.RUNNING, "one"), owner="ann")
    beside = replace(situation(one), limits={"ann": 1})
    assert "(quota)" in foresee_start(make_spec(), beside, of=Ownership(owner="ann")).message
    assert foresee_start(make_spec(), beside, of=Ownership(owner="bob")).when == "now"
    at_most = replace(situation(one), policy=QueuePolicy(max_active_jobs=1))
    assert "ALEXNET_MAX_ACTIVE_JOBS" in foresee_start(make_spec(), at_most, of=NOBODYS).message

    draining = replace(situation(), is_draining=True)
    assert foresee_start(BOTH, draining, of=NOBODYS).message == DRAINS
    never = foresee_start(make_spec(scale={"replicas": 4}), draining, of=NOBODYS)
    assert never.when == "never"


def test_a_job_that_others_would_make_room_for_is_told_so(store: Store) -> None:
    job_in(store, Status.RUNNING, "lower", spec=BOTH)
    report(store, "lower", progress(1))
    running = store.job("lower")
    later = now() + timedelta(seconds=UNDISTURBED_S + 1)
    preempting = replace(situation(running), policy=QueuePolicy(preemption=True), now=later)
    start = foresee_start(BOTH.model_copy(update={"priority": 1}), preempting, of=NOBODYS)
    assert start.message.endswith("jobs of lower priority are to make room for it")
    assert "make room" not in foresee_start(BOTH, preempting, of=NOBODYS).message


def test_a_job_that_has_waited_long_goes_before_one_of_the_next_priority(store: Store) -> None:
    running = job_in(store, Status.RUNNING, "runs", spec=BOTH)
    aged = job_in(store, Status.QUEUED, "aged", spec=BOTH)
    aged = replace(aged, status_since=now() - timedelta(hours=2))
    later = job_in(store, Status.QUEUED, "later", spec=BOTH)
    higher = BOTH.model_copy(update={"priority": 1})
    start = foresee_start(higher, situation(running, aged, later), of=NOBODYS)
    assert [job.id for job in start.ahead] == ["runs", "aged"]


def test_a_private_job_of_another_is_told_without_its_time(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs", spec=BOTH)
    report(store, "runs", TIMED, progress(60, images_per_second=128.0))
    private = replace(store.job("runs"), owner="ann", private=True)

    def left(owner: str) -> list[float | None]:
        of = Ownership(owner=owner, private=True)
        return [one.seconds_left for one in foresee_start(BOTH, situation(private), of=of).ahead]

    assert left("ann") == [40.0]
    assert left("bob") == [None]


def test_of_a_job_that_leaves_the_rest_of_its_work_is_not_told(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs", spec=BOTH)
    report(store, "runs", TIMED, progress(60, images_per_second=128.0))
    running = store.job("runs")
    for leaving in (
        replace(running, status=Status.CANCELLING, checkpoint_step=60),
        replace(running, status=Status.PAUSING, checkpoint_step=60),
        replace(running, desired=Desired.PAUSE),
    ):
        (one,) = foresee_start(BOTH, situation(leaving), of=NOBODYS).ahead
        assert one.seconds_left is None


def test_of_many_jobs_before_it_the_first_are_told_and_all_are_counted(store: Store) -> None:
    running = job_in(store, Status.RUNNING, "runs", spec=BOTH)
    queued = job_in(store, Status.QUEUED, "queued", spec=BOTH)
    many = [replace(queued, id=f"j{seq}", seq=seq) for seq in range(100)]
    start = foresee_start(BOTH, situation(running, *many), of=NOBODYS)
    assert start.num_ahead == 101
    names = ["runs", *(f"j{seq}" for seq in range(MAX_AHEAD - 1))]
    assert [one.id for one in start.ahead] == names
    assert foresee_start(make_spec(), situation(), of=NOBODYS).num_ahead == 0
