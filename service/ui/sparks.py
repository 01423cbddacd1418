"""Spark lines: how the loss of a job went, in the space of a word."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import Connection

from service.jobs.records import JobRecord
from service.store.points import read_history

POINTS = 32
WIDTH, HEIGHT = 100, 24
_MARGIN = 2
_REMEMBERED = 2000
# A line of a job that trains grows by so little that it is not drawn at each of its steps.
_FRESH_S = 5.0


def polyline(values: Sequence[float]) -> str:
    """Return the points of an SVG line through the values, within WIDTH by HEIGHT; '': none."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    room = HEIGHT - 2 * _MARGIN
    scale = room / (high - low) if high > low else 0.0
    across = WIDTH / (len(finite) - 1)
    return " ".join(
        f"{number * across:.1f},{HEIGHT - _MARGIN - (value - low) * scale:.1f}"
        for number, value in enumerate(finite)
    )


@dataclass(frozen=True)
class _Line:
    step: int
    read_at_s: float
    points: str


class Sparks:
    """Lines that were drawn of late; from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._lock = Lock()

    def read(self, connection: Connection, jobs: Iterable[JobRecord]) -> Mapping[str, str]:
        """Return the lines by job, of those that have told of a step."""
        return {
            job.id: self._line(connection, job, job.progress.step)
            for job in jobs
            if job.progress is not None
        }

    def _line(self, connection: Connection, job: JobRecord, step: int) -> str:
        now = self._clock()
        with self._lock:
            known = self._lines.get(job.id)
        is_fresh = not job.is_terminal and known is not None and now - known.read_at_s < _FRESH_S
        if known is not None and (known.step == step or is_fresh):
            return known.points
        history = read_history(connection, job.id, ["loss"], max_points=POINTS)
        line = _Line(step, now, polyline([one.values["loss"].mean for one in history.points]))
        with self._lock:
            self._lines[job.id] = line
            self._lines.move_to_end(job.id)
            while len(self._lines) > _REMEMBERED:
                self._lines.popitem(last=False)
        return line.points
