"""What a cluster has, who holds it, and what is left: bundles are counted into nodes here."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from service.scheduling.placement import Demand, Node

# Ray counts in ten-thousandths; sums of such fractions are off by less than this.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What one bundle, actor or task holds of a node."""

    node_id: str
    holder: str
    """The submission that it belongs to, or Ray's number of the job where there is none."""
    num_cpus: float
    num_gpus: float


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The nodes that live, and all that is held of them, by this service's jobs and by others."""

    nodes: Sequence[Node]
    holdings: Sequence[Holding] = ()
    waiting: frozenset[str] = frozenset()
    """Who has asked for a gang that is not placed, named as holders are."""

    def by_holder(self) -> Mapping[str, Sequence[Holding]]:
        """Return what each holds."""
        found = defaultdict(list)
        for holding in self.holdings:
            found[holding.holder].append(holding)
        return found


@dataclass(frozen=True, kw_only=True)
class Taken:
    """So many bundles of a demand on one node."""

    place: int
    num_cpus: float
    num_gpus: float


class Room:
    """What nodes have left. It changes as bundles are taken and given back.

    Bundles fill node after node, those without GPUs first. Of equal bundles that is exact: only
    their number matters. Ray alone decides where they come to lie (`unplaced`).
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        ordered = sorted(nodes, key=lambda node: (node.num_gpus, node.id))
        self._places = {node.id: place for place, node in enumerate(ordered)}
        self._ids = [node.id for node in ordered]
        self._cpus = [node.num_cpus for node in ordered]
        self._gpus = [node.num_gpus for node in ordered]
        self._full_until: dict[tuple[int, int], int] = {}
        """By what a bundle needs: before this place none fits. So it is while nothing is given."""

    def __str__(self) -> str:
        cpus, gpus = (sum(max(one, 0) for one in left) for left in (self._cpus, self._gpus))
        nodes = f"{len(self._cpus)} node{'s' if len(self._cpus) != 1 else ''}"
        return f"{round(cpus, 4):g} CPU and {round(gpus, 4):g} GPU on {nodes}"

    def copy(self) -> "Room":
        """Return another that is as this one is now."""
        new = copy(self)
        new._cpus, new._gpus = self._cpus.copy(), self._gpus.copy()
        new._full_until = self._full_until.copy()
        return new

    def hold(self, holding: Holding) -> Taken | None:
        """Take what somebody holds, though it be more than there is; None: of no such node."""
        place = self._places.get(holding.node_id)
        if place is None:
            return None
        taken = Taken(place=place, num_cpus=holding.num_cpus, num_gpus=holding.num_gpus)
        self._change(taken, -1)
        return taken

    def take(self, demand: Demand, *, num_bundles: int | None = None) -> tuple[Taken, ...] | None:
        """Take every bundle, or so many; None where not all fit: then nothing is taken."""
        missing = demand.num_replicas if num_bundles is None else num_bundles
        shape = demand.cpus_per_replica, demand.gpus_per_replica
        full_until = self._full_until.get(shape, 0)
        found: list[Taken] = []
        for place in range(full_until, len(self._cpus)):
            if missing == 0:
                break
            taken = min(missing, self._num_bundles(place, demand))
            if taken:
                missing -= taken
                cpus, gpus = taken * demand.cpus_per_replica, taken * demand.gpus_per_replica
                found.append(Taken(place=place, num_cpus=cpus, num_gpus=gpus))
            elif place == full_until:
                full_until += 1
        self._full_until[shape] = full_until
        if missing:
            return None
        for one in found:
            self._change(one, -1)
        return tuple(found)

    def place(
        self, demand: Demand, holder: str, *, num_bundles: int | None = None
    ) -> tuple[Holding, ...] | None:
        """Take as `take` does; return what the holder then has, bundle by bundle."""
        taken = self.take(demand, num_bundles=num_bundles)
        if taken is None:
            return None
        return tuple(
            Holding(
                node_id=self._ids[one.place],
                holder=holder,
                num_cpus=demand.cpus_per_replica,
                num_gpus=demand.gpus_per_replica,
            )
            for one in taken
            for _ in range(round(one.num_cpus / demand.cpus_per_replica))
        )

    def give(self, taken: Iterable[Taken]) -> None:
        """Give back what was taken."""
        for one in taken:
            self._change(one, 1)
        self._full_until.clear()

    def take_again(self, taken: Iterable[Taken]) -> None:
        """Take what was given back."""
        for one in taken:
            self._change(one, -1)

    def has_node_with(self, *, num_cpus: float, num_gpus: float) -> bool:
        """Whether so much is left on one node."""
        return any(
            cpus + _ROUNDING >= num_cpus and (not num_gpus or gpus + _ROUNDING >= num_gpus)
            for cpus, gpus in zip(self._cpus, self._gpus, strict=True)
        )

    def num_bundles(self, demand: Demand) -> int:
        """Count the bundles of the demand's kind that fit, however many it wants."""
        return sum(self._num_bundles(place, demand) for place in range(len(self._cpus)))

    def num_bundles_at(self, places: Iterable[int], demand: Demand) -> int:
        """Count the bundles of the demand's kind that fit in some places."""
        return sum(self._num_bundles(place, demand) for place in places)

    def _num_bundles(self, place: int, demand: Demand) -> int:
        fitting = (self._cpus[place] + _ROUNDING) // demand.cpus_per_replica
        if demand.gpus_per_replica:
            fitting = min(fitting, (self._gpus[place] + _ROUNDING) // demand.gpus_per_replica)
        return max(int(fitting), 0)

    def _change(self, taken: Taken, sign: int) -> None:
        self._cpus[taken.place] += sign * taken.num_cpus
        self._gpus[taken.place] += sign * taken.num_gpus
