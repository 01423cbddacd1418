from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.placement import Demand, Node
from service.scheduling.room import Room
from service.scheduling.unplaced import Unplaced
from tests.unit.service.scheduling import slow

gangs = st.builds(
    Demand,
    num_replicas=st.integers(1, 3),
    cpus_per_replica=st.integers(1, 4),
    gpus_per_replica=st.integers(0, 2),
)
sizes = st.tuples(st.integers(1, 12).map(float), st.integers(0, 4).map(float))


def nodes_of(sizes: list[tuple[float, float]]) -> list[Node]:
    return [
        Node(id=f"n{number}", num_cpus=cpus, num_gpus=gpus)
        for number, (cpus, gpus) in enumerate(sizes)
    ]


def begun(nodes: list[Node], wanted: list[Demand]) -> list[Demand]:
    """Return which of them begin together, the first that fit."""
    unplaced, found = Unplaced(Room(nodes)), []
    for gang in wanted:
        if unplaced.leave_room_for(gang):
            unplaced.add(gang)
            found.append(gang)
    return found


@given(
    st.lists(sizes, min_size=1, max_size=4),
    st.lists(gangs, min_size=1, max_size=6),
    st.integers(0, 2**16),
)
def test_what_begins_together_fits_wherever_and_in_whatever_order_ray_puts_it(
    sizes: list[tuple[float, float]], wanted: list[Demand], seed: int
) -> None:
    random = Random(seed)
    free = nodes_of(sizes)
    together = begun(free, wanted)
    for gang in random.sample(together, len(together)):
        left = slow.place_anywhere(free, gang, random)
        assert left is not None
        free = left


@given(st.lists(sizes, min_size=1, max_size=4), gangs, st.lists(st.integers(1, 3), max_size=4))
def test_of_one_kind_nothing_that_fits_has_to_wait(
    sizes: list[tuple[float, float]], gang: Demand, replicas: list[int]
) -> None:
    nodes = nodes_of(sizes)
    num_begun = sum(
        one.num_replicas
        for one in begun(nodes, [replace(gang, num_replicas=num) for num in replicas])
    )
    fits = slow.place(nodes, replace(gang, num_replicas=sum(replicas))) is not None
    assert (num_begun == sum(replicas)) == fits


def test_a_pair_waits_until_it_is_known_where_single_ones_lie() -> None:
    single = Demand(num_replicas=1, cpus_per_replica=1, gpus_per_replica=1)
    pair = replace(single, gpus_per_replica=2)
    nodes = nodes_of([(8.0, 2.0), (8.0, 2.0)])
    assert begun(nodes, [single, pair]) == [single, pair]
    assert begun(nodes, [single, single, pair]) == [single, single]
    # On one node it does not matter where.
    assert begun(nodes_of([(8.0, 4.0)]), [single, single, pair]) == [single, single, pair]
