"""Who is killed, and how each is found."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who is struck, and what happens to it."""

    WORKER = "a worker dies"
    FROZEN_FIRST = "the first worker is frozen"
    FROZEN_OTHER = "another worker is frozen"
    LOADER = "a loader process dies"
    CONTROLLER = "Ray Train's controller dies"
    DRIVER = "the driver dies"
    LAUNCHER = "the driver's launcher dies"
    SUPERVISOR = "Ray's supervisor of the driver dies"
    STARTING = "an attempt dies while it starts"
    MAKING_ROOM = "the control plane dies as a job makes room, and its attempt"
    FORK_SERVER = "the warm process dies, and then a worker"
    CONTROL_PLANE = "the control plane dies"
    FAILPOINT = "the control plane dies at a failpoint"


# How many of a hundred; a hang takes long to be found.
_SHARES = {
    Role.WORKER: 22,
    Role.FROZEN_FIRST: 1,
    Role.FROZEN_OTHER: 1,
    Role.LOADER: 6,
    Role.CONTROLLER: 8,
    Role.DRIVER: 9,
    Role.LAUNCHER: 5,
    Role.SUPERVISOR: 8,
    Role.STARTING: 8,
    Role.MAKING_ROOM: 4,
    Role.FORK_SERVER: 2,
    Role.CONTROL_PLANE: 16,
    Role.FAILPOINT: 10,
}

_PAIRS = {Role.STARTING, Role.MAKING_ROOM, Role.FORK_SERVER, Role.FAILPOINT}

ONE_OF_EACH = len(Role) + len(_PAIRS)
"""Processes that are killed until everybody has been struck."""

FROZEN = {Role.FROZEN_FIRST, Role.FROZEN_OTHER}
ROWS = {**dict.fromkeys(FROZEN, "6"), Role.CONTROL_PLANE: "1", Role.FAILPOINT: "1"}
"""Of the table of faults; of all others 5."""


@dataclass(frozen=True)
class Kill:
    """One that is to come."""

    number: int
    role: Role
    seed: int

    @property
    def num_processes(self) -> int:
        """How many are killed: with the one that is meant another that leads there."""
        return 2 if self.role in _PAIRS else 1

    def suits(self, num_replicas: int) -> bool:
        """Say whether it can be done to a job of so many."""
        return self.role is not Role.FROZEN_OTHER or num_replicas > 1

    @property
    def row(self) -> str:
        """Of the table of faults."""
        return ROWS.get(self.role, "5")

    def draw(self) -> random.Random:
        """Return what decides all the rest of it."""
        return random.Random(self.seed)


def planned(num_processes: int, seed: int) -> Sequence[Kill]:
    """Return what kills so many processes: a kill of each role first, then by their shares."""
    draw = random.Random(seed)
    roles = list(Role)
    draw.shuffle(roles)
    kills: list[Kill] = []
    while sum(kill.num_processes for kill in kills) < num_processes:
        (drawn,) = draw.choices(list(_SHARES), list(_SHARES.values()))
        role = roles.pop() if roles else drawn
        kills.append(Kill(len(kills) + 1, role, draw.randrange(2**31)))
    return kills
