"""Spark lines: how the loss of a job went, in the space of a word."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import Connection

from service.jobs.records import JobRecord
from service.store.outlines import read_outlines

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
    span = high - low
    # By its share and not by a scale, which is infinite where all but nothing lies between them.
    shares = [(value - low) / span if 0 < span < math.inf else 0.0 for value in finite]
    across = WIDTH / (len(finite) - 1)
    return " ".join(
        f"{number * across:.1f},{HEIGHT - _MARGIN - share * room:.1f}"
        for number, share in enumerate(shares)
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

    def read(self, connection: Connection, jobs: Collection[JobRecord]) -> Mapping[str, str]:
        """Return the lines by job, of those that have told of a step."""
        now = self._clock()
        steps = {job.id: job.progress.step for job in jobs if job.progress is not None}
        ended = {job.id for job in jobs if job.is_terminal}
        with self._lock:
            known = {job_id: self._lines[job_id] for job_id in steps.keys() & self._lines.keys()}
        due = {
            job_id: step
            for job_id, step in steps.items()
            if (line := known.get(job_id)) is None
            or (line.step != step and (job_id in ended or now - line.read_at_s >= _FRESH_S))
        }
        if due:
            read = read_outlines(connection, due)
            known |= {one: _Line(due[one], now, polyline(read[one])) for one in due}
            self._remember({one: known[one] for one in due})
        return {job_id: line.points for job_id, line in known.items()}

    def _remember(self, lines: Mapping[str, _Line]) -> None:
        with self._lock:
            for job_id, line in lines.items():
                self._lines[job_id] = line
                self._lines.move_to_end(job_id)
            while len(self._lines) > _REMEMBERED:
                self._lines.popitem(last=False)
