from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.placement import Demand, Node, accelerator_of, admit, demand_of, place
from tests.unit.service.conftest import make_spec

nodes = st.lists(
    st.builds(
        Node,
        id=st.just("n"),
        num_cpus=st.integers(0, 8).map(float),
        num_gpus=st.integers(0, 4).map(float),
    ),
    max_size=4,
)
demands = st.builds(
    Demand,
    num_replicas=st.integers(1, 5),
    cpus_per_replica=st.integers(1, 4),
    gpus_per_replica=st.integers(0, 2),
)
queues = st.lists(demands, max_size=6).map(
    lambda queue: [(str(place), demand) for place, demand in enumerate(queue)]
)


def node(cpus: float, gpus: float = 0) -> Node:
    return Node(id="n", num_cpus=cpus, num_gpus=gpus)


def demand(replicas: int, cpus: int, gpus: int = 0) -> Demand:
    return Demand(num_replicas=replicas, cpus_per_replica=cpus, gpus_per_replica=gpus)


@given(nodes, demands)
def test_a_gang_is_placed_whole_and_never_beyond_a_node(cluster: list[Node], gang: Demand) -> None:
    left = place(cluster, gang)
    bundles = sum(
        int(
            min(
                one.num_cpus // gang.cpus_per_replica,
                one.num_gpus // gang.gpus_per_replica if gang.gpus_per_replica else 10**9,
            )
        )
        for one in cluster
    )
    assert (left is None) == (bundles < gang.num_replicas)
    if left is not None:
        assert all(one.num_cpus >= 0 and one.num_gpus >= 0 for one in left)
        cpus = sum(one.num_cpus for one in cluster) - sum(one.num_cpus for one in left)
        gpus = sum(one.num_gpus for one in cluster) - sum(one.num_gpus for one in left)
        assert cpus == gang.num_replicas * gang.cpus_per_replica
        assert gpus == gang.num_replicas * gang.gpus_per_replica


@given(nodes, st.lists(demands, max_size=3), queues)
def test_everyone_is_admitted_or_told_why(
    cluster: list[Node], running: list[Demand], queue: list[tuple[str, Demand]]
) -> None:
    admission = admit(cluster, running, queue)
    assert sorted([*admission.admitted, *admission.waiting]) == sorted(name for name, _ in queue)
    assert all(admission.waiting.values())


@given(nodes, st.lists(demands, max_size=3), queues)
def test_nobody_overtakes_who_could_run(
    cluster: list[Node], running: list[Demand], queue: list[tuple[str, Demand]]
) -> None:
    admitted = set(admit(cluster, running, queue).admitted)
    could_run = [name for name, gang in queue if place(cluster, gang) is not None]
    # Of those that could ever run, the admitted are the first ones.
    assert set(could_run[: len(admitted)]) == admitted


@given(nodes, st.lists(demands, max_size=3), queues)
def test_what_is_admitted_fits_beside_what_runs(
    cluster: list[Node], running: list[Demand], queue: list[tuple[str, Demand]]
) -> None:
    admitted = admit(cluster, running, queue).admitted
    free: list[Node] | None = list(cluster)
    chosen = [gang for name, gang in queue if name in admitted]
    packed = sorted(
        running,
        key=lambda gang: (gang.gpus_per_replica, gang.cpus_per_replica, gang.num_replicas),
        reverse=True,
    )
    for gang in [*packed, *chosen] if admitted else []:
        assert free is not None
        left = place(free, gang)
        free = None if left is None else list(left)
    assert free is not None


@given(nodes, queues)
def test_the_first_that_can_run_does_run_on_an_empty_cluster(
    cluster: list[Node], queue: list[tuple[str, Demand]]
) -> None:
    could_run = [name for name, gang in queue if place(cluster, gang) is not None]
    assert admit(cluster, [], queue).admitted[:1] == tuple(could_run[:1])


def test_a_pair_of_gpus_lies_on_one_node() -> None:
    assert place([node(8, 1), node(8, 1)], demand(1, 1, 2)) is None
    assert place([node(8, 2), node(8, 2)], demand(2, 1, 2)) is not None


def test_a_job_too_large_for_the_cluster_waits_with_a_reason_and_holds_back_nobody() -> None:
    admission = admit([node(2)], [], [("large", demand(4, 1)), ("small", demand(1, 1))])
    assert admission.admitted == ("small",)
    assert admission.waiting["large"] == (
        "needs 4 × (1 CPU); the whole cluster has 2 CPU and 0 GPU on 1 node"
    )


def test_a_job_that_waits_for_its_turn_holds_back_the_smaller_ones_behind_it() -> None:
    queue = [("large", demand(2, 1)), ("small", demand(1, 1))]
    admission = admit([node(2)], [demand(1, 1)], queue)
    assert admission.admitted == ()
    assert admission.waiting == {
        "large": "needs 2 × (1 CPU); free are 1 CPU and 0 GPU on 1 node",
        "small": "waits behind the jobs before it",
    }


def test_nothing_is_started_while_what_runs_does_not_fit() -> None:
    assert admit([node(1)], [demand(2, 1)], [("next", demand(1, 1))]).admitted == ()


def test_auto_is_gpu_where_there_are_any() -> None:
    spec = make_spec(scale={"replicas": 2, "cpus_per_replica": 3})
    assert accelerator_of(spec, [node(8)]) == "cpu"
    assert accelerator_of(spec, [node(8), node(8, 2)]) == "gpu"
    assert accelerator_of(make_spec(scale={"accelerator": "gpu"}), []) == "gpu"
    assert demand_of(spec, "gpu") == demand(2, 3, 2)
    assert demand_of(spec, "cpu") == demand(2, 3, 0)
