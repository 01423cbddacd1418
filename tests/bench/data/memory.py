"""What memory processes take, by the kernel's account of shared pages.

PSS counts a page that n processes map as an n-th for each of them, so that the sum over processes
counts each page once.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_FIELD = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ +(?P<path>/.*)")


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    return [pid, *descendants(pid)]


def descendants(pid: int) -> list[int]:
    """Return what a process has started, and what these have."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@dataclass(frozen=True)
class Memory:
    """What processes hold, in bytes, each page counted once."""

    own: int
    """Their heaps and what they share among themselves."""
    mapped: int
    """Files that they map, libraries among them: page cache, which the kernel may take back."""

    @property
    def whole(self) -> int:
        """All of it."""
        return self.own + self.mapped

    def __add__(self, other: Self) -> "Memory":
        return Memory(self.own + other.own, self.mapped + other.mapped)


def memory_of(pids: Sequence[int]) -> Memory:
    """Return the memory of processes; what has ended has none."""
    total = Memory(0, 0)
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return total


def mapped_bytes_of(pids: Sequence[int], folder: Path) -> int:
    """Return the PSS of what processes map of the files in `folder`: the shared page cache."""
    # The kernel tells where files are, whatever links lead there.
    where = folder.resolve()
    return sum(mapped_bytes(Path(f"/proc/{pid}/smaps").read_text(), where) for pid in pids)


def parse_rollup(text: str) -> Memory:
    """Read /proc/PID/smaps_rollup."""
    kilobytes = {name: int(size) for name, size in _FIELD.findall(text)}
    own = kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]
    return Memory(1024 * own, 1024 * kilobytes["Pss_File"])


def mapped_bytes(smaps: str, folder: Path) -> int:
    """Return the bytes (PSS) of mappings of files in `folder`, of the text of /proc/PID/smaps."""
    total, inside = 0, False
    for line in smaps.splitlines():
        if line.startswith("Pss:"):
            total += inside * int(line.split()[1])
        elif "-" in line.split(" ", 1)[0]:
            mapping = _MAPPING.fullmatch(line)
            inside = mapping is not None and Path(mapping["path"]).parent == folder
    return 1024 * total
