"""How often an object store is asked again, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """A schedule: delays double from the first to the longest, each shortened at random.

    The defaults (assumed) wait 22 s at most, which most throttling outlasts by little.
    """

    tries: int = 8
    """Requests made at most, the first among them."""
    first_s: float = 0.2
    longest_s: float = 10.0

    def delays(self, draw: Callable[[], float] = random.random) -> tuple[float, ...]:
        """Return (tries - 1,) seconds to wait before each further try.

        Each is between a half and all of what doubling gives, by a draw from [0, 1), so that the
        readers that a busy store turned away at once do not come back at once.
        """
        full = (min(self.longest_s, self.first_s * 2**again) for again in range(self.tries - 1))
        return tuple(delay * (1 + draw()) / 2 for delay in full)


DEFAULT_POLICY = RetryPolicy()
