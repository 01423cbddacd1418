"""Where the time of a step goes: each moment of the loop's thread belongs to one phase."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainer.contract.events import Phase


class Stopwatch:
    """Adds up seconds by phase; for one thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begin anew, in no phase in particular."""
        self._seconds: dict[Phase, float] = {}
        self._phase: Phase = "other"
        self._since = self._clock()

    def enter(self, phase: Phase) -> None:
        """End the present phase and begin this one."""
        now = self._clock()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Be in a phase while the block runs, then in no phase in particular."""
        self.enter(phase)
        try:
            yield
        finally:
            self.enter("other")

    def read(self) -> dict[Phase, float]:
        """Return the seconds since the last reading by phase, and go on in the present one."""
        self.enter(self._phase)
        seconds, self._seconds = self._seconds, {}
        return seconds
