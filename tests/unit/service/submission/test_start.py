from dataclasses import replace

import pytest

from service.access.caller import Ownership
from service.jobs.records import JobRecord
from service.scheduling.placement import Node
from service.store.store import Store
from service.submission.start import Cluster, foresee_start
from tests.unit.service.conftest import job_in, make_spec, progress, report
from trainer.contract.status import Desired, Status

TWO_CORES = (Node(id="n", num_cpus=2, num_gpus=0),)
BOTH = make_spec(scale={"cpus_per_replica": 2})
NOBODYS = Ownership(owner=None)


def cluster_of(*live: JobRecord) -> Cluster:
    return Cluster(nodes=TWO_CORES, live=live, accelerators={job.id: "cpu" for job in live})


def test_without_a_cluster_nothing_is_known() -> None:
    start = foresee_start(BOTH, None, of=NOBODYS, unseen="Ray is away")
    assert (start.when, start.message, start.accelerator) == ("unknown", "Ray is away", None)


def test_what_is_free_is_had_now() -> None:
    start = foresee_start(BOTH, cluster_of(), of=NOBODYS)
    assert (start.when, start.accelerator, start.ahead) == ("now", "cpu", ())


@pytest.mark.parametrize("scale", [{"replicas": 4}, {"accelerator": "gpu"}])
def test_what_the_whole_cluster_lacks_is_never_had(scale: dict[str, object]) -> None:
    start = foresee_start(make_spec(scale=scale), cluster_of(), of=NOBODYS)
    assert start.when == "never"
    assert "whole cluster" in start.message


def test_jobs_that_run_or_go_first_are_named_with_their_time_left(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs", spec=BOTH)
    report(store, "runs", progress(60, images_per_second=128.0))
    running = store.job("runs")
    queued = job_in(store, Status.QUEUED, "queued", spec=BOTH)
    lower = job_in(store, Status.QUEUED, "lower", spec=BOTH.model_copy(update={"priority": -1}))
    leaving = replace(queued, id="leaving", desired=Desired.CANCEL)
    start = foresee_start(BOTH, cluster_of(running, queued, lower, leaving), of=NOBODYS)
    assert start.when == "waits"
    assert [(job.id, job.seconds_left) for job in start.ahead] == [("runs", 40.0), ("queued", None)]


def test_private_jobs_are_counted_and_named_only_where_all_who_see_the_plan_may_see_them(
    store: Store,
) -> None:
    running = replace(job_in(store, Status.RUNNING, "runs", spec=BOTH), owner="ann", private=True)
    cluster = cluster_of(running)

    def named(owner: str, *, private: bool) -> list[str | None]:
        of = Ownership(owner=owner, private=private)
        return [job.id for job in foresee_start(BOTH, cluster, of=of).ahead]

    assert named("bob", private=True) == [None]
    assert named("ann", private=False) == [None]
    assert named("ann", private=True) == ["runs"]
