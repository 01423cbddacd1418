"""What a node's shard cache has done, in a file beside the shards."""

import os
import struct
from pathlib import Path
from typing import NamedTuple


class Counters(NamedTuple):
    """What a node's cache has done since it was made; a killed process may leave out its last."""

    hits: int = 0
    """Openings of a file that was there."""
    fetches: int = 0
    bytes_fetched: int = 0
    evictions: int = 0
    nanoseconds_fetching: int = 0
    """Over all processes, which may fetch at the same time."""


_COUNTERS = struct.Struct(f"<{len(Counters._fields)}q")


def read_counters(file: Path) -> Counters:
    """Return what a file counts; zeros where there is none, or none that is whole. OSError."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Counters()
    return Counters(*_COUNTERS.unpack(content)) if len(content) == _COUNTERS.size else Counters()


def sum_of(one: Counters, more: Counters) -> Counters:
    """Return what both count."""
    return Counters(*(a + b for a, b in zip(one, more, strict=True)))


def add_counters(file: Path, more: Counters) -> None:
    """Count on; whoever does it holds a lock. Raises OSError."""
    total = sum_of(read_counters(file), more)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, _COUNTERS.pack(*total), 0)
    finally:
        os.close(descriptor)
