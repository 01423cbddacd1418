from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.placement import Demand, Node
from service.scheduling.room import Holding, Room
from tests.unit.service.scheduling.slow import free_beside, place

nodes = st.lists(
    st.tuples(st.integers(0, 8).map(float), st.integers(0, 4).map(float)), max_size=4
).map(
    lambda sizes: [
        Node(id=str(place), num_cpus=cpus, num_gpus=gpus)
        for place, (cpus, gpus) in enumerate(sizes)
    ]
)
demands = st.builds(
    Demand,
    num_replicas=st.integers(1, 5),
    cpus_per_replica=st.integers(1, 4),
    gpus_per_replica=st.integers(0, 2),
)
holdings = st.lists(
    st.builds(
        Holding,
        node_id=st.sampled_from(["0", "1", "2", "3", "gone"]),
        holder=st.just("someone"),
        num_cpus=st.integers(0, 3).map(float),
        num_gpus=st.integers(0, 2).map(float),
    ),
    max_size=4,
)


@given(nodes, holdings, st.lists(demands, max_size=6))
def test_a_gang_is_taken_whole_where_the_slow_model_places_it_and_given_back_as_it_was(
    cluster: list[Node], held: list[Holding], gangs: list[Demand]
) -> None:
    room = Room(cluster)
    for one in held:
        assert (room.hold(one) is None) == (one.node_id not in {node.id for node in cluster})
    free = free_beside(cluster, held)
    before = str(room)
    given_back = []
    for gang in gangs:
        left = place(free, gang)
        taken = room.take(gang)
        assert (taken is None) == (left is None)
        if taken is not None and left is not None:
            free = left
            given_back.append(taken)
        assert room.num_bundles(gang) == sum(
            place([node], Demand(**{**vars(gang), "num_replicas": 1})) is not None
            for node in _split(free, gang)
        )
    for taken in given_back:
        room.give(taken)
    assert str(room) == before
    for gang in gangs:
        assert (room.take(gang) is None) == (place(free_beside(cluster, held), gang) is None)
        break


def _split(free: list[Node], gang: Demand) -> list[Node]:
    """Cut nodes into pieces of one bundle each."""
    pieces = []
    for node in free:
        cpus, gpus = node.num_cpus, node.num_gpus
        while cpus >= gang.cpus_per_replica and gpus >= gang.gpus_per_replica:
            pieces.append(
                Node(
                    id=node.id,
                    num_cpus=gang.cpus_per_replica,
                    num_gpus=gang.gpus_per_replica,
                )
            )
            cpus, gpus = cpus - gang.cpus_per_replica, gpus - gang.gpus_per_replica
    return pieces


def test_a_pair_of_gpus_lies_on_one_node() -> None:
    pair = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=2)
    one_each = [Node(id=name, num_cpus=8, num_gpus=1) for name in "ab"]
    assert Room(one_each).take(pair) is None
    assert Room([Node(id="a", num_cpus=8, num_gpus=2)]).take(pair) is not None


def test_fractions_that_ray_counts_in_do_not_lose_a_bundle() -> None:
    room = Room([Node(id="a", num_cpus=1.0, num_gpus=0)])
    third = Holding(node_id="a", holder="x", num_cpus=0.1, num_gpus=0)
    taken = [room.hold(third) for _ in range(3)]
    room.give(one for one in taken if one is not None)
    assert room.take(Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)) is not None


def test_what_needs_no_gpu_goes_first_where_none_is() -> None:
    room = Room([Node(id="a", num_cpus=1, num_gpus=1), Node(id="b", num_cpus=1, num_gpus=0)])
    assert room.take(Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)) is not None
    assert room.take(Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=1)) is not None


def test_what_is_given_back_is_taken_again() -> None:
    one = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=0)
    room = Room([Node(id="a", num_cpus=1, num_gpus=0)])
    taken = room.take(one)
    assert taken is not None
    assert room.take(one) is None
    room.give(taken)
    assert room.take(one) is not None


@given(nodes, holdings, demands)
def test_what_is_placed_is_named_bundle_by_bundle(
    cluster: list[Node], held: list[Holding], gang: Demand
) -> None:
    room = Room(cluster)
    for one in held:
        room.hold(one)
    left = place(free_beside(cluster, held), gang)
    placed = room.place(gang, "job-1")
    assert (placed is None) == (left is None)
    if placed is not None and left is not None:
        assert len(placed) == gang.num_replicas
        assert free_beside(cluster, [*held, *placed]) == left
