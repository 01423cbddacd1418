"""Whether the kernel has killed for want of memory here, which a killed process cannot tell."""

from pathlib import Path

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
