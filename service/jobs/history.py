"""History by step: which points count, how many of them are shown, which are kept. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainer.contract.events import Evaluated, Phase

Series = Literal["loss", "images_per_second", "learning_rate", "data_wait_ratio"]


@dataclass(frozen=True)
class Stretch:
    """Steps done, in (after, through], of which one attempt's points count."""

    attempt: int
    after: int
    through: int

    def within(self, first: int, last: int) -> "Stretch | None":
        """Return the part of it in [first, last]; None: there is none."""
        after, through = max(self.after, first - 1), min(self.through, last)
        return Stretch(self.attempt, after, through) if after < through else None


@dataclass(frozen=True)
class Spread:
    """What a series came to over some points."""

    mean: float
    min: float
    max: float


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """Consecutive points of one attempt, or a single one, as one."""

    first_step: int
    step: int
    """The last."""
    epoch: float
    """Of the last."""
    num_points: int
    values: Mapping[Series, Spread]


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What a point, or some that follow each other, tells by phase and by replica."""

    first_step: int
    step: int
    """The last."""
    epoch: float
    """Of the last."""
    phase_seconds: Mapping[Phase, float]
    """Of a step; empty: it was not told."""
    replica_images_per_second: Sequence[float]
    """Images a second, by rank, as `Progress` has them."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What the lineage of a job has come through, in the order of steps."""

    points: Sequence[HistoryPoint]
    evaluations: Sequence[Evaluated]
    breakdowns: Sequence[Breakdown] = ()
    """Of fewer points; none where nobody asked for them."""


def stretches(starts: Iterable[tuple[int, int]], *, last_step: int) -> list[Stretch]:
    """Return what counts of each attempt, from (number, steps done when it began) in order.

    Steps that were done again count as the newest attempt did them.
    """
    found: list[Stretch] = []
    through = last_step
    for attempt, after in sorted(starts, reverse=True):
        if after < through:
            found.append(Stretch(attempt, after, through))
            through = after
    return found[::-1]


def evaluations_that_count(
    told: Iterable[tuple[int, Evaluated]], starts: Sequence[tuple[int, int]]
) -> list[Evaluated]:
    """Return, in the order of steps, what was measured of networks that were not trained anew.

    `told`: by attempt, in the order they happened; `starts` as in `stretches`. Of the same step
    and protocol the newest counts.
    """
    counting: dict[tuple[int, str], Evaluated] = {}
    for attempt, one in told:
        if all(one.step <= after for later, after in starts if later > attempt):
            counting[one.step, one.protocol] = one
    return sorted(counting.values(), key=lambda one: one.step)


def bucket_width(first: int, last: int, *, at_most: int) -> int:
    """Return how many steps a range has when [first, last] is cut into at most so many."""
    return -(-(last - first + 1) // at_most)


def buckets(first: int, last: int, *, at_most: int) -> Iterator[tuple[int, int]]:
    """Cut the steps [first, last] into at most so many equal ranges, the last perhaps shorter."""
    width = bucket_width(first, last, at_most=at_most)
    for start in range(first, last + 1, width):
        yield start, min(start + width - 1, last)


def together(parts: Sequence[HistoryPoint]) -> HistoryPoint:
    """Make one point of some that follow each other."""
    num_points = sum(part.num_points for part in parts)
    return HistoryPoint(
        first_step=parts[0].first_step,
        step=parts[-1].step,
        epoch=parts[-1].epoch,
        num_points=num_points,
        values={
            series: Spread(
                mean=sum(p.values[series].mean * p.num_points for p in parts) / num_points,
                min=min(p.values[series].min for p in parts),
                max=max(p.values[series].max for p in parts),
            )
            for series in parts[0].values
        },
    )


def broken_down(singles: Sequence[Breakdown], *, at_most: int) -> list[Breakdown]:
    """Make at most so many of these that follow each other: each the mean of as many."""
    size = -(-len(singles) // at_most)
    return [_mean(singles[at : at + size]) for at in range(0, len(singles), size or 1)]


def _mean(parts: Sequence[Breakdown]) -> Breakdown:
    timed = [one.phase_seconds for one in parts if one.phase_seconds]
    phases = dict.fromkeys(phase for seconds in timed for phase in seconds)
    rated = [one.replica_images_per_second for one in parts if one.replica_images_per_second]
    # Where a job was resized in between, as it is since.
    alike = [rates for rates in rated if len(rates) == len(rated[-1])]
    return Breakdown(
        first_step=parts[0].first_step,
        step=parts[-1].step,
        epoch=parts[-1].epoch,
        phase_seconds={
            phase: sum(seconds.get(phase, 0.0) for seconds in timed) / len(timed)
            for phase in phases
        },
        replica_images_per_second=[
            sum(of_rank) / len(alike) for of_rank in zip(*alike, strict=True)
        ],
    )


def thinned(steps: Iterable[int], *, first: int, width: int, last: int) -> list[int]:
    """Return which of these ascending steps are dropped when one of every `width` steps remains.

    Ranges of `width` are counted from `first` on. The first step of each remains, and `last`. So
    of what was thinned nothing more is dropped, and ranges may be thinned one after another.
    """
    dropped: list[int] = []
    kept_of: int | None = None
    for step in steps:
        bucket = (step - first) // width
        if bucket != kept_of:
            kept_of = bucket
        elif step != last:
            dropped.append(step)
    return dropped
