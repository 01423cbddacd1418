from collections.abc import Sequence

from service.scheduling.admission import BEHIND, UNPLACED, Admission, admit
from service.scheduling.placement import Demand, Node
from service.scheduling.queue import ActiveJob, QueuePolicy, Turn, WaitingJob
from service.scheduling.room import Cluster, Holding

POLICY = QueuePolicy()


def demand(replicas: int, gpus: int = 0) -> Demand:
    return Demand(num_replicas=replicas, cpus_per_replica=1, gpus_per_replica=gpus)


def turn(seq: int) -> Turn:
    return Turn(priority=0, since=0.0, waited_s=0.0, seq=seq)


def admitted(
    *queue: tuple[str, Demand],
    running: Demand | None = None,
    is_leaving: bool = False,
    nodes: Sequence[tuple[float, float]] = ((2, 0),),
    holdings: Sequence[Holding] = (),
) -> Admission:
    """Decide over a queue beside a job that Ray has not placed yet, on nodes of (CPUs, GPUs)."""
    active = [] if running is None else [active_job(running, is_leaving)]
    cluster = Cluster(
        nodes=[
            Node(id=f"n{place}", num_cpus=cpus, num_gpus=gpus)
            for place, (cpus, gpus) in enumerate(nodes)
        ],
        holdings=holdings,
    )
    waiting = [
        WaitingJob(id=name, owner=None, demand=wanted, turn=turn(place))
        for place, (name, wanted) in enumerate(queue, 1)
    ]
    return admit(cluster, active, waiting, POLICY, limits={}, now=0.0)


def active_job(wanted: Demand, is_leaving: bool) -> ActiveJob:
    return ActiveJob(
        id="runs",
        owner=None,
        demand=wanted,
        turn=turn(0),
        submission_id="runs-1",
        is_leaving=is_leaving,
        runs_since=None,
    )


def test_a_job_too_large_for_the_cluster_waits_with_a_reason_and_holds_back_nobody() -> None:
    admission = admitted(("large", demand(4)), ("small", demand(1)))
    assert admission.admitted == ("small",)
    assert admission.too_large == {"large"}
    assert admission.waiting == {
        "large": "needs 4 × (1 CPU); the whole cluster has 2 CPU and 0 GPU on 1 node"
    }


def test_a_job_that_waits_for_its_turn_holds_back_the_smaller_ones_behind_it() -> None:
    admission = admitted(("large", demand(2)), ("small", demand(1)), running=demand(1))
    assert (admission.admitted, admission.too_large) == ((), frozenset())
    assert admission.waiting == {
        "large": "needs 2 × (1 CPU); free are 1 CPU and 0 GPU on 1 node",
        "small": BEHIND,
    }


def test_a_pair_of_gpus_lies_on_one_node() -> None:
    pair = ("pair", demand(1, gpus=2))
    assert admitted(pair, nodes=((8, 1), (8, 1))).too_large == {"pair"}
    assert admitted(pair, nodes=((8, 1), (8, 2))).admitted == ("pair",)


def test_nothing_begins_before_a_job_that_began_has_its_devices() -> None:
    foreign = Holding(node_id="n0", holder="another", num_cpus=1, num_gpus=0)
    admission = admitted(("next", demand(1)), running=demand(2), holdings=[foreign])
    assert admission.waiting == {"next": UNPLACED}


def test_a_pair_waits_until_it_is_known_where_ray_puts_single_ones() -> None:
    single, pair = demand(1, gpus=1), demand(1, gpus=2)
    nodes = ((8, 2), (8, 2))
    together = admitted(("a", single), ("c", single), ("b", pair), nodes=nodes)
    assert together.admitted == ("a", "c")
    assert together.waiting == {"b": UNPLACED}
    beside = admitted(("c", single), ("b", pair), running=single, nodes=nodes)
    assert (beside.admitted, beside.waiting) == (("c",), {"b": UNPLACED})


def test_it_is_told_which_job_ray_cannot_place() -> None:
    foreign = Holding(node_id="n0", holder="another", num_cpus=1, num_gpus=0)
    assert admitted(running=demand(2), holdings=[foreign]).without_room == {"runs"}
    assert admitted(running=demand(3)).without_room == {"runs"}
    assert admitted(running=demand(1), holdings=[foreign]).without_room == frozenset()
    leaving = admitted(running=demand(2), is_leaving=True, holdings=[foreign])
    assert leaving.without_room == frozenset()


def test_a_job_that_leaves_and_has_let_go_of_its_devices_holds_up_nobody() -> None:
    another = Holding(node_id="n0", holder="another", num_cpus=1, num_gpus=0)
    begun = admitted(("next", demand(1)), running=demand(2), is_leaving=True, holdings=[another])
    assert begun.admitted == ("next",)
