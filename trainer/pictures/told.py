"""What a run's attempts have told of its loss and errors, by the spools in its run directory.

A spool is read on from where it was read to, and what is kept of a curve is bounded.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import mul
from pathlib import Path
from typing import Any

from trainer.contract.events import Evaluated
from trainer.contract.lineage import Span

# Assumed: twice what a picture is wide enough for, halved when it is too much.
MOST_POINTS = 2000


@dataclass
class Thinned:
    """Numbers by step, of which neighbours become their mean when there are too many."""

    points: list[tuple[int, float]] = field(default_factory=list)
    """The last step of each, and its mean; ascending."""
    _width: int = 1
    """How many numbers a point stands for."""
    _pending: list[float] = field(default_factory=list)

    def add(self, step: int, number: float) -> None:
        """Take the next; of a step that is told again the later one too."""
        self._pending.append(number)
        if len(self._pending) < self._width:
            return
        self.points.append((step, sum(self._pending) / len(self._pending)))
        self._pending.clear()
        if len(self.points) >= MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [(step, (one + other) / 2) for (_, one), (step, other) in pairs]
            self._width *= 2


def fewer(
    points: Sequence[tuple[int, float]], most: int = MOST_POINTS
) -> Sequence[tuple[int, float]]:
    """Return at most so many points of any number of attempts: of equal spans of steps the means.

    Ascending by step. A point counts as many times as it stands for steps, and its step is the last
    of its span. Pure.
    """
    if len(points) <= most:
        return points
    first, last = points[0][0], points[-1][0]
    kept: list[tuple[int, float]] = []
    spans = groupby(_weighed(points), key=lambda one: (one[0] - first) * most // (last - first + 1))
    for _, span in spans:
        steps, numbers, weights = zip(*span, strict=True)
        mean = sum(map(mul, numbers, weights)) / sum(weights)
        kept.append((steps[-1], mean))
    return kept


def _weighed(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float, int]]:
    before = 0
    for step, number in points:
        # Of a step that was told twice both count.
        yield step, number, max(1, step - before)
        before = step


class Spooled:
    """What one attempt has told so far."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._offset_bytes = 0
        self.loss = Thinned()
        self.evaluations: list[Evaluated] = []

    def read_on(self) -> None:
        """Read what was told since. Raises OSError."""
        if not self._spool.exists():
            return
        with self._spool.open("rb") as file:
            file.seek(self._offset_bytes)
            for line in file:
                # One without its end is being written.
                if not line.endswith(b"\n"):
                    return
                self._offset_bytes += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            told: dict[str, Any] = json.loads(line)["data"]
            if told["kind"] == "progress":
                self.loss.add(int(told["step"]), float(told["loss"]))
            elif told["kind"] == "evaluated":
                self.evaluations.append(Evaluated.model_validate(told))
        except (ValueError, KeyError, TypeError):
            # A machine that failed may have left half a line, which the next goes on.
            return


@dataclass(frozen=True, kw_only=True)
class Told:
    """What counts of all attempts, in the order of steps."""

    loss: Sequence[tuple[int, float]]
    evaluations: Sequence[Evaluated]


def lineage_of(spans: Sequence[Span], spooled: Sequence[Spooled]) -> Told:
    """Return what counts, where `spooled` is what the attempt of each span has told.

    Steps that were done again count as the later attempt did them.
    """
    pairs = list(zip(spans, spooled, strict=True))
    measured = {
        (one.step, one.protocol): one
        for span, told in pairs
        for one in told.evaluations
        if span.stop is None or one.step <= span.stop
    }
    return Told(
        loss=[point for span, told in pairs for point in _within(span, told.loss.points)],
        evaluations=sorted(measured.values(), key=lambda one: one.step),
    )


def _within(span: Span, points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    # A point is of steps done: the first of a span is one more than it began with.
    for step, number in points:
        if span.start < step and (span.stop is None or step <= span.stop):
            yield step, number
