"""How long an object store is waited for, how often asked again, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """A schedule: delays double from the first to the longest, each shortened at random.

    The defaults are assumed. The delays come to 22 s at most, which most throttling outlasts by
    little; a store that is slow besides is given two minutes.
    """

    tries: int = 8
    """Requests made at most, the first among them."""
    first_s: float = 0.2
    longest_s: float = 10.0
    total_s: float = 120.0
    """After this no further try begins; what is read or written then adds its own time."""
    answer_s: float = 30.0
    """How long a whole answer may take, whatever it holds."""
    slowest_bytes_s: float = 256 << 10
    """What a store that is well gives or takes at least, in bytes a second."""

    def transfer_s(self, size: int) -> float:
        """Return how long `size` bytes may take besides."""
        return size / self.slowest_bytes_s

    def deadline_s(self, size: int) -> float:
        """Return how long one request may take that reads or writes `size` bytes.

        Else a store that drips, and so is never silent, would be waited for for ever.
        """
        return self.answer_s + self.transfer_s(size)

    def borne_s(self, size: int) -> float:
        """Return for how long a whole file of `size` bytes is waited for, tries and all."""
        return self.total_s + self.deadline_s(size)

    def delays(self, draw: Callable[[], float] = random.random) -> tuple[float, ...]:
        """Return (tries - 1,) seconds to wait before each further try.

        Each is between a half and all of what doubling gives, by a draw from [0, 1), so that the
        readers that a busy store turned away at once do not come back at once.
        """
        full = (min(self.longest_s, self.first_s * 2**again) for again in range(self.tries - 1))
        return tuple(delay * (1 + draw()) / 2 for delay in full)


DEFAULT_POLICY = RetryPolicy()
