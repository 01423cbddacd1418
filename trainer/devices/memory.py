"""Whether the kernel has killed for want of memory here, which a killed process cannot tell."""

import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

# The machine is others' too: what was killed long before was none of this attempt's.
RECENT_S = 60.0
_EVERY_S = 10.0
_CGROUPS = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")
_OWN = Path("/proc/self/cgroup")


def num_oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory so far.

    Of this process's control group, where it has a limit of its own, else of the machine; 0 where
    neither is told.
    """
    try:
        own = next(line for line in _OWN.read_text().splitlines() if line.startswith("0::/"))
        return _count(_CGROUPS / own.removeprefix("0::/") / "memory.events")
    except (OSError, StopIteration, ValueError, LookupError):
        pass
    try:
        return _count(_VMSTAT)
    except (OSError, ValueError, LookupError):
        return 0


def _count(file: Path) -> int:
    return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])


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
