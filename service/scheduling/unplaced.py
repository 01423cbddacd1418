"""Whether gangs fit wherever Ray puts those that it has yet to place: a bound. Pure.

Ray's PACK strategy takes for a gang's first bundle the node of which the largest part would be left
free, by each resource, fills that node, and goes on so (Ray 2.60: `BundlePackSchedulingPolicy`,
`LeastResourceScorer`). In what order attempts ask it, nobody knows. So nothing is foreseen of where
they come to lie: two jobs of one GPU each may leave no node with a pair.
"""

from collections import Counter
from collections.abc import Mapping

from service.scheduling.placement import Demand
from service.scheduling.room import Room

# The CPUs and GPUs of a bundle.
_Shape = tuple[int, int]


class Unplaced:
    """Gangs that were begun and that Ray has yet to place, beside all that is held."""

    def __init__(self, free: Room) -> None:
        """`free`: what is left beside what is held; it does not change."""
        self._free = free
        self._wanted: Counter[_Shape] = Counter()
        self._num_fitting: dict[_Shape, int] = {}

    def add(self, demand: Demand, *, num_bundles: int | None = None) -> None:
        """Count a gang, or so many bundles that one of them lacks."""
        self._wanted[_shape_of(demand)] += num_bundles or demand.num_replicas

    def are_all_like(self, demand: Demand) -> bool:
        """Whether each bundle is of the demand's kind: then only their number matters."""
        return self._wanted.keys() <= {_shape_of(demand)}

    def leave_room_for(self, demand: Demand) -> bool:
        """Whether it and all that are unplaced fit, wherever and in whatever order Ray puts them.

        They do where one node has room for all of them together, or where of each kind as many
        bundles fit as the others can spoil at most, and its own need.
        """
        wanted = self._wanted + Counter({_shape_of(demand): demand.num_replicas})
        if all(self._fitting(shape) >= _spoilt(shape, wanted) for shape in wanted):
            return True
        return self._free.has_node_with(
            num_cpus=sum(num * cpus for (cpus, _), num in wanted.items()),
            num_gpus=sum(num * gpus for (_, gpus), num in wanted.items()),
        )

    def _fitting(self, shape: _Shape) -> int:
        if shape not in self._num_fitting:
            cpus, gpus = shape
            one = Demand(num_replicas=1, cpus_per_replica=cpus, gpus_per_replica=gpus)
            self._num_fitting[shape] = self._free.num_bundles(one)
        return self._num_fitting[shape]


def _shape_of(demand: Demand) -> _Shape:
    return demand.cpus_per_replica, demand.gpus_per_replica


def _spoilt(shape: _Shape, wanted: Mapping[_Shape, int]) -> int:
    """Return how many bundles of a shape take up, at most, the room of all that are wanted.

    On any node floor((x - t) / s) >= floor(x / s) - ceil(t / s), by each resource; so it is one for
    one of its own shape.
    """
    cpus, gpus = shape
    return sum(
        num * max(-(-other_cpus // cpus), -(-other_gpus // gpus) if gpus else 0)
        for (other_cpus, other_gpus), num in wanted.items()
    )
