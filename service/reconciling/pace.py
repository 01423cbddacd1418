"""How soon the reconciler looks again: often while something goes on, seldom while nothing does."""

import math
import time
from collections.abc import Callable, Iterable

from trainer.contract.events import AttemptEvent, Finished, Started
from trainer.contract.status import Status

TICK_S = 0.5
# What ends without a word, as a driver that is killed, is seen by looking. To ask Ray of one job
# that runs takes 4 ms of CPU time, most of it in Ray (measured, docs/LOG.md).
CALM_TICK_S = 2.0
# Assumed: so long after an attempt has told of its end or was told to, Ray says that it has ended.
SETTLING_S = 10.0


def is_news(events: Iterable[AttemptEvent], status: Status) -> bool:
    """Say whether a change of a job's status may follow from what its attempt tells. Pure."""
    if status is Status.STARTING:
        return any(True for _ in events)
    return any(isinstance(one.data, Started | Finished) for one in events)


class Pace:
    """When to look again, by when there was news; for any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, of any origin."""
        self._clock = clock
        self._news_at_s = -math.inf

    def note_news(self) -> None:
        """Look often for a while: something was asked, or an attempt has told news."""
        self._news_at_s = self._clock()

    def pause_s(self) -> float:
        """Return how long to wait for news before the next look."""
        return TICK_S if self._clock() - self._news_at_s < SETTLING_S else CALM_TICK_S
