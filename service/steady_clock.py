"""The present moment as the service goes by it: no jump of the machine's clock is in it.

Deadlines, retries, waits and quotas are differences of moments, some of them days old and in the
store. A clock that is set an hour on would end every job whose deadline is within that hour. So the
service's time runs on by a clock that nobody sets, and follows the machine's at a bounded rate. The
next leader goes on from what the one before told (`SteadyClock.go_on`).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

logger = logging.getLogger(__name__)

# So much faster or slower than time it runs at most: a jump of an hour is made up in ten. Assumed:
# no deadline minds that, and clocks that are kept by NTP drift a thousand times less.
MAX_SLEW = 0.1
# What is further apart was a jump, of which the log tells.
JUMP_S = 5.0
# What is further apart than this is no slip, but a clock that was wrong before, such as that of a
# machine without a battery: it would be followed for years, so it is gone by at once (assumed).
MAX_SLEWED_S = 6 * 3600.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot_s() -> float:
    """Return seconds since the boot: as no one sets them, and with those of a suspended machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was told, and when by a clock that nobody sets; for whoever goes on from there."""

    told_s: float
    """Seconds since 1970."""
    boot: str
    """Of which machine, since which boot; empty where that is not known."""
    steady_s: float
    """Seconds since that boot."""


class SteadyClock:
    """Tells the time; from any thread. It goes back only where it was hours wrong."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot_s,
        boot: str | None = None,
    ) -> None:
        """`wall`: the machine's clock, in seconds since 1970; `steady`: one that nobody sets.

        `boot`: since which boot `steady` counts; None: this machine's own, found when asked for.
        """
        self._wall = wall
        self._steady = steady
        self._boot = boot
        self._lock = threading.Lock()
        self._told_s: float | None = None
        """What was told last, in seconds since 1970; None: it begins with the machine's clock."""
        self._steady_s = 0.0
        """When, by the steady clock."""
        self._left_s = 0.0
        """So far was the machine's clock ahead of that, still to be made up."""

    def now(self) -> datetime:
        """Return the present moment."""
        with self._lock:
            return datetime.fromtimestamp(self._now_s(), UTC)

    def read(self) -> Reading:
        """Return the present moment such that another process can go on from it."""
        with self._lock:
            told_s = self._now_s()
            return Reading(told_s=told_s, boot=self._boot_id(), steady_s=self._steady_s)

    def go_on(self, reading: Reading, watched_s: float | None) -> None:
        """Tell the time on from a reading of another process, be it of another machine.

        `watched_s`: for so long it is known to be past, where the boot is another; None: unknown.
        """
        with self._lock:
            wall_s, steady_s = self._wall(), self._steady()
            is_ours = reading.boot == self._boot_id() != "" and reading.steady_s <= steady_s
            if is_ours:
                self._told_s, self._steady_s = reading.told_s, reading.steady_s
            elif watched_s is not None:
                self._told_s, self._steady_s = reading.told_s + watched_s, steady_s
            else:
                # Nobody knows for how long there was no service, but the machine's clock.
                self._told_s, self._steady_s = max(wall_s, reading.told_s), steady_s
            self._left_s = 0.0

    def _now_s(self) -> float:
        wall_s, steady_s = self._wall(), self._steady()
        if self._told_s is None:
            self._told_s = wall_s
        else:
            elapsed_s = steady_s - self._steady_s
            expected_s = self._told_s + elapsed_s
            ahead_s = wall_s - expected_s
            self._note(ahead_s)
            most_s = abs(ahead_s) if abs(ahead_s) > MAX_SLEWED_S else MAX_SLEW * elapsed_s
            self._told_s = expected_s + min(max(ahead_s, -most_s), most_s)
        self._steady_s = steady_s
        self._left_s = wall_s - self._told_s
        return self._told_s

    def _note(self, ahead_s: float) -> None:
        jump_s = ahead_s - self._left_s
        if abs(jump_s) <= JUMP_S:
            return
        if abs(ahead_s) > MAX_SLEWED_S:
            follows = "the service's goes by it at once, as one of them was wrong before"
        else:
            follows = f"the service's follows, within {abs(ahead_s) / MAX_SLEW / 3600:.1f} h"
        logger.warning(
            "the machine's clock was set %s by %.0f s: %s",
            "forward" if jump_s > 0 else "back",
            abs(jump_s),
            follows,
        )

    def _boot_id(self) -> str:
        if self._boot is None:
            try:
                self._boot = _BOOT_ID.read_text().strip()
            except OSError:
                self._boot = ""
        return self._boot


PROCESS_CLOCK = SteadyClock()
"""This process's one."""


def now_utc() -> datetime:
    """Return the present moment, by this process's one clock."""
    return PROCESS_CLOCK.now()


def wall_utc() -> datetime:
    """Return the moment by the machine's clock: for what people were promised a date and time.

    The expiry of a token is one, which the command line gives it in a process of its own.
    """
    return datetime.now(UTC)
