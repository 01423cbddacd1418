"""What the page of the cluster says."""

from dataclasses import replace

import pytest

from service.store.gpu_ids import GpuIds
from service.store.store import Store
from service.store.switches import Drain
from service.ui.cluster_facts import cluster_facts
from service.views.cluster import ClusterView, HeldView, NodeView, QueuedView
from tests.unit.service.conftest import job_in, make_spec, now
from trainer.contract.status import Status


def view_of(*held: HeldView, gpus: float = 0, queue: tuple[QueuedView, ...] = ()) -> ClusterView:
    node = NodeView(
        id="n",
        num_cpus=8,
        num_gpus=gpus,
        gpu_type="H100" if gpus else None,
        memory_bytes=64_000_000_000,
        free_cpus=8 - sum(one.num_cpus for one in held),
        free_gpus=gpus - sum(one.num_gpus for one in held),
        held=held,
    )
    return ClusterView(
        ray_address=None, trouble=None, nodes=(node,), num_waiting=len(queue) + 3, queue=queue
    )


def test_a_node_tells_what_it_has_and_who_holds_it(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "runs", spec=make_spec(name="holds pairs"))
    held = HeldView(holder=f"runs-{job.attempt}", num_cpus=2, num_gpus=4)
    another = HeldView(holder="in use", num_cpus=1, num_gpus=1.5)
    facts = cluster_facts(view_of(held, another, gpus=9), [job], None, {})
    (node,) = facts.nodes
    assert (node.cpus, node.gpus) == ("5 of 8 free", "3.5 of 9 free")
    assert (node.memory, node.gpu_type) == ("64.0 GB", "H100")
    ours, other = node.holders
    assert (ours.name, ours.job_id, ours.amount) == ("holds pairs", "runs", "2 CPU, 4 GPU")
    assert (ours.gpus, ours.cpu_percent, ours.colour) == ((1.0,) * 4, 25, 1)
    assert (other.name, other.job_id, other.colour) == ("in use", None, 0)
    assert other.gpus == (1.0, 0.5)
    assert node.free_gpus == (1.0, 1.0, 1.0, 0.5)
    assert [figure.value for figure in facts.figures] == ["1", "3.5 of 9", "5 of 8", "3"]


@pytest.mark.parametrize(
    ("told", "gpus", "amount"),
    [
        ((("0", "3"), ("1", "2")), (2.0, 2.0), "2 CPU, 4 GPU: 0+3, 1+2"),
        ((("0",), ("1",), ("2",), ("3",)), (1.0,) * 4, "2 CPU, 4 GPU: 0, 1, 2, 3"),
        ((("MIG-a/1/2", "MIG-a/3/4"), ("b", "c")), (2.0, 2.0), "2 CPU, 4 GPU"),
        # What it has by now is not what it told.
        ((("0", "1"),), (1.0,) * 4, "2 CPU, 4 GPU"),
        ((), (1.0,) * 4, "2 CPU, 4 GPU"),
    ],
)
def test_gpus_are_together_whose_attempt_told_so(
    store: Store, told: GpuIds, gpus: tuple[float, ...], amount: str
) -> None:
    job = job_in(store, Status.RUNNING, "runs")
    held = HeldView(holder=f"runs-{job.attempt}", num_cpus=2, num_gpus=4)
    (node,) = cluster_facts(view_of(held, gpus=6), [job], None, {"runs": told}).nodes
    assert (node.holders[0].gpus, node.holders[0].amount) == (gpus, amount)
    # Of the rest nobody told which are neighbours.
    assert node.free_gpus == (1.0, 1.0)


def test_of_a_job_on_several_nodes_nothing_tells_which_gpus_are_where(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "runs")
    held = HeldView(holder=f"runs-{job.attempt}", num_cpus=1, num_gpus=2)
    view = view_of(held, gpus=2)
    (node,) = view.nodes
    other = node.model_copy(update={"id": "other"})
    told = {"runs": (("0", "1"), ("0", "1"))}
    two = view.model_copy(update={"nodes": (node, other)})
    for card in cluster_facts(two, [job], None, told).nodes:
        assert (card.holders[0].gpus, card.holders[0].amount) == ((1.0, 1.0), "1 CPU, 2 GPU")


class Compared(str):
    """A holder's name that counts how often it is compared with another."""

    __slots__ = ()
    __hash__ = str.__hash__
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_many_holders_are_gone_through_a_few_times_each(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "runs")
    jobs = [replace(job, id=f"runs{number}") for number in range(100)]
    held = [
        HeldView.model_construct(
            holder=Compared(f"{one.id}-{one.attempt}"), num_cpus=0.01, num_gpus=0
        )
        for one in jobs
    ]
    (node,) = view_of().nodes
    full = node.model_construct(**{**dict(node), "held": tuple(held)})
    view = view_of().model_copy(update={"nodes": (full,)})
    Compared.times = 0
    (card,) = cluster_facts(view, jobs, None, {}).nodes
    assert len(card.holders) == 100
    assert Compared.times < 1000


def test_who_waits_is_told_why_and_others_private_jobs_have_no_name(store: Store) -> None:
    job = job_in(store, Status.QUEUED, "mine", spec=make_spec(name="my job", priority=2))
    common = {"status": Status.QUEUED, "priority": 2, "effective_priority": 2.26, "since": now()}
    queue = (
        QueuedView(place=1, job_id=None, message=None, **common),
        QueuedView(place=2, job_id="mine", message="waits for 2 GPU", **common),
    )
    facts = cluster_facts(view_of(queue=queue), [job], None, {})
    assert [(one.name, one.why) for one in facts.queue] == [
        ("a private job", ""),
        ("my job", "waits for 2 GPU"),
    ]
    assert facts.queue[1].priority == "+2, by waiting 2.3"
    assert facts.num_more == 3


def test_a_drain_is_told_with_what_ends_it() -> None:
    assert cluster_facts(view_of(), [], None, {}).drain == ""
    told = cluster_facts(view_of(), [], Drain(since=now(), pause=True), {}).drain
    assert "what ran is paused" in told
    assert "alexnet undrain" in told


def test_without_nodes_that_is_said_and_no_figure_is_made_up() -> None:
    away = ClusterView(ray_address=None, trouble="Ray: away", nodes=(), num_waiting=0, queue=())
    facts = cluster_facts(away, [], None, {})
    assert facts.trouble == "Ray: away"
    assert [figure.name for figure in facts.figures] == ["Jobs that wait"]
