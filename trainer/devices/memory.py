"""How short memory is here: what is left of it, and whom the kernel has killed for want of it.

A killed process cannot tell the latter.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

# The machine is others' too: what was killed long before was none of this attempt's.
RECENT_S = 60.0
_EVERY_S = 10.0
_CGROUPS = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")
_MEMINFO = Path("/proc/meminfo")
_OWN = Path("/proc/self/cgroup")
# Ray ends a worker where more than the rest is taken (its memory_usage_threshold).
_RAY_LEAVES = 0.05


def num_oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory so far.

    Of this process's control group, where it has a limit of its own, else of the machine; 0 where
    neither is told.
    """
    try:
        return _count(_own_group() / "memory.events")
    except (OSError, StopIteration, ValueError, LookupError):
        pass
    try:
        return _count(_VMSTAT)
    except (OSError, ValueError, LookupError):
        return 0


def spare_bytes() -> float | None:
    """Return how much memory may still be taken before anybody is ended for it.

    Of the machine, or of a control group that this process is in, whichever has less; None where
    neither is told.
    """
    left = [*_left_of_machine()]
    with suppress(OSError, StopIteration):
        own = _own_group()
        for group in (own, *own.parents):
            left += _left_of(group)
    return min(left, default=None)


def _left_of_machine() -> Iterator[float]:
    try:
        fields = {
            name: int(value.split()[0]) * 1024
            for name, _, value in (
                line.partition(":") for line in _MEMINFO.read_text().splitlines()
            )
        }
        yield fields["MemAvailable"] - _RAY_LEAVES * fields["MemTotal"]
    except (OSError, ValueError, LookupError):
        return


def _left_of(group: Path) -> Iterator[float]:
    """Give what is left of a control group's limit; files that it has read are given up first."""
    try:
        limit = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
        counts = _counts(group / "memory.stat")
        files = counts["inactive_file"] + counts["active_file"]
        yield limit - taken + files - _RAY_LEAVES * limit
    except (OSError, ValueError, LookupError):
        # "max" is no limit.
        return


def _own_group() -> Path:
    """Return the folder of this process's control group. Raises OSError, StopIteration."""
    own = next(line for line in _OWN.read_text().splitlines() if line.startswith("0::/"))
    return _CGROUPS / own.removeprefix("0::/")


def _count(file: Path) -> int:
    return _counts(file)["oom_kill"]


def _counts(file: Path) -> dict[str, int]:
    return {
        name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())
    }


class RecentOomKills:
    """Looks from a thread, while it is entered, how many the kernel has killed lately."""

    def __init__(self) -> None:
        self._counts: deque[int] = deque([num_oom_kills()], maxlen=round(RECENT_S / _EVERY_S))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="oom-kills", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def look(self) -> None:
        """Note how many there have been by now; to be called every few seconds."""
        self._counts.append(num_oom_kills())

    def count(self) -> int:
        """Return how many there have been within the last minute."""
        return num_oom_kills() - self._counts[0]

    def _watch(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self.look()
