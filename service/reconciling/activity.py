"""Whether the reconciler gets on: what it is at, and for how long."""

import time
from collections.abc import Callable

# A mount that hangs answers neither yes nor no. Assumed: nothing that ends takes so long for one
# job; the longest are reading its checkpoints (a minute at 10 MB/s) and a submission (60 s).
STUCK_AFTER_S = 300.0


class Activity:
    """Written by the reconciler's thread, read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, of any origin."""
        self._clock = clock
        self._at: tuple[str, float] | None = None

    def begin(self, what: str) -> None:
        """Begin with one thing, having done with another."""
        self._at = what, self._clock()

    def rest(self) -> None:
        """Wait for the next tick."""
        self._at = None

    def age_s(self) -> float:
        """Return for how long it has been at one thing; 0: it waits for the next tick."""
        at = self._at
        return 0.0 if at is None else self._clock() - at[1]

    def trouble(self) -> str | None:
        """Say what it is stuck at, for an operator's log; None: it gets on."""
        at = self._at
        if at is None or (age_s := self._clock() - at[1]) < STUCK_AFTER_S:
            return None
        return f"the reconciler has been at {at[0]} for {age_s:,.0f} s, as where a disk hangs"
