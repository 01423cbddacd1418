"""For how long each of the other replicas has told nothing, as rank 0 counts it: pure."""

from collections.abc import Mapping
from typing import NamedTuple

from trainer.attempt.pulse import Pulse


class Silence(NamedTuple):
    """That of one replica."""

    rank: int
    seconds: float


class Silences:
    """Those of all replicas but rank 0, from when rank 0 begins to listen."""

    def __init__(self, num_replicas: int) -> None:
        self._silent_s = dict.fromkeys(range(1, num_replicas), 0.0)
        self._beats: dict[int, int] = {}

    def go_by(self, elapsed_s: float) -> None:
        """Let time go by."""
        for rank in self._silent_s:
            self._silent_s[rank] += elapsed_s

    def hear(self, others: Mapping[int, Pulse]) -> None:
        """Take what the others told last, by rank: the same again is silence.

        One that is done may be silent: rank 0 may have to wait for a disk when no other has.
        """
        for rank, pulse in others.items():
            if pulse.is_done:
                self._silent_s.pop(rank, None)
            elif self._beats.get(rank) != pulse.beat:
                self._beats[rank] = pulse.beat
                self._silent_s[rank] = 0.0

    def longest(self) -> Silence | None:
        """Return the longest; None: there are no others, or none that is not done."""
        silences = (Silence(rank, seconds) for rank, seconds in self._silent_s.items())
        return max(silences, key=lambda one: one.seconds, default=None)
