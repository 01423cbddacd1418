"""The present moment as the service goes by it: no jump of the machine's clock is in it.

Deadlines, retries, waits and quotas are differences of moments, some of them days old and in the
store. A clock that is set an hour on would end every job whose deadline is within that hour. So the
service's time runs on by a clock that nobody sets, and follows the machine's at a bounded rate.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

logger = logging.getLogger(__name__)

# So much faster or slower than time it runs at most: a jump of an hour is made up in ten. Assumed:
# no deadline minds that, and clocks that are kept by NTP drift a thousand times less.
MAX_SLEW = 0.1
# What is further apart was a jump, of which the log tells.
JUMP_S = 5.0


def since_boot_s() -> float:
    """Return seconds since the boot: as no one sets them, and with those of a suspended machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Tells the time; from any thread. It never goes back."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot_s,
    ) -> None:
        """`wall`: the machine's clock, in seconds since 1970; `steady`: one that nobody sets."""
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._told_s: float | None = None
        """What was told last, in seconds since 1970; None: it begins with the machine's clock."""
        self._steady_s = 0.0
        """When, by the steady clock."""
        self._has_jumped = False

    def now(self) -> datetime:
        """Return the present moment."""
        with self._lock:
            return datetime.fromtimestamp(self._now_s(), UTC)

    def _now_s(self) -> float:
        wall_s, steady_s = self._wall(), self._steady()
        if self._told_s is None:
            self._told_s = wall_s
        else:
            elapsed_s = steady_s - self._steady_s
            expected_s = self._told_s + elapsed_s
            ahead_s = wall_s - expected_s
            self._note(ahead_s)
            most_s = MAX_SLEW * elapsed_s
            self._told_s = expected_s + min(max(ahead_s, -most_s), most_s)
        self._steady_s = steady_s
        return self._told_s

    def _note(self, ahead_s: float) -> None:
        has_jumped = abs(ahead_s) > JUMP_S
        if has_jumped and not self._has_jumped:
            logger.warning(
                "the machine's clock was set %s by %.0f s: the service's follows, within %.1f h",
                "forward" if ahead_s > 0 else "back",
                abs(ahead_s),
                abs(ahead_s) / MAX_SLEW / 3600,
            )
        self._has_jumped = has_jumped


_clock = SteadyClock()


def now_utc() -> datetime:
    """Return the present moment, by this process's one clock."""
    return _clock.now()
