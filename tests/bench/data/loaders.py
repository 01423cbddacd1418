"""What loaders take in memory: the set's pages, which they share, and what each has for itself."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.data.memory import mapped_bytes_of, memory_of

# After whole epochs; less was mapped by others as well, or was not mapped but read.
_LEAST_SHARE_OF_SET = 0.9
_IDLE = "import sys, data_shards.feeding.loader; print(flush=True); sys.stdin.read()"


@dataclass(frozen=True)
class LoadersMemory:
    """What some loaders hold together, in bytes, each page counted once."""

    mapped: int
    """Of the set's files."""
    private: int
    """Heaps and batches, beyond what as many idle interpreters have."""


def loaders_memory(pids: Sequence[int], packed: Path) -> LoadersMemory:
    """Look at loaders that have read the whole set."""
    private = memory_of(pids).own - len(pids) * _interpreter_bytes()
    return LoadersMemory(mapped_bytes_of(pids, packed), private)


def shared_ratio(one: LoadersMemory, many: LoadersMemory, set_bytes: int) -> float | str:
    """Return how many times as much of the set many loaders map, or why that would say nothing."""
    for name, memory in (("one loader", one), ("many loaders", many)):
        if memory.mapped < _LEAST_SHARE_OF_SET * set_bytes:
            mib, of_mib = memory.mapped >> 20, set_bytes >> 20
            return f"{name} mapped {mib} MiB of a set of {of_mib}: it is not read through its pages"
    return round(many.mapped / one.mapped, 3)


def whole_ratio(one: LoadersMemory, many: LoadersMemory) -> float:
    """Return how many times as much many loaders take, private memory included."""
    return round((many.mapped + many.private) / (one.mapped + one.private), 3)


def _interpreter_bytes() -> int:
    """Return what a loader's interpreter has for itself before it has a task."""
    with subprocess.Popen(
        [sys.executable, "-c", _IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as idle:
        assert idle.stdout
        assert idle.stdin
        idle.stdout.readline()
        own = memory_of([idle.pid]).own
        idle.stdin.close()
    return own
