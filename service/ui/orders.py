"""In which order the table shows jobs. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from service.jobs.progress import fraction, seconds_left
from service.jobs.records import JobRecord
from trainer.contract.status import Status


class Order(StrEnum):
    """What the table is sorted by, as addresses have it."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PRIORITY = "priority"
    PROGRESS = "progress"
    SPEED = "speed"
    TIME_LEFT = "time_left"
    TOP1 = "top1"
    LOSS = "loss"

    @property
    def is_of_live(self) -> bool:
        """Whether only jobs that have not ended are sorted so.

        Those are few, and in memory; all others are in no index but that of their arrival.
        """
        return self in _KEYS


@dataclass(frozen=True, kw_only=True)
class ShownOrder:
    """How an order is told of."""

    title: str
    column: str = ""
    """Of the table, as its head calls it; '': none."""
    direction: Literal["ascending", "descending"] = "descending"


SHOWN: Mapping[Order, ShownOrder] = {
    Order.NEWEST: ShownOrder(title="Newest first", column="Age", direction="ascending"),
    Order.OLDEST: ShownOrder(title="Oldest first", column="Age"),
    Order.PRIORITY: ShownOrder(title="Highest priority"),
    Order.PROGRESS: ShownOrder(title="Most progress", column="Progress"),
    Order.SPEED: ShownOrder(title="Most images/s", column="Images/s"),
    Order.TIME_LEFT: ShownOrder(title="Soonest done", column="ETA", direction="ascending"),
    Order.TOP1: ShownOrder(title="Best top-1", column="Top-1"),
    Order.LOSS: ShownOrder(title="Least loss", column="Loss", direction="ascending"),
}


def in_order(jobs: Iterable[JobRecord], order: Order) -> list[JobRecord]:
    """Return jobs that have not ended by their figures, those that have none last.

    Of equal ones the newest is first.
    """
    figure = _KEYS[order]
    sign = 1 if SHOWN[order].direction == "ascending" else -1

    def place(job: JobRecord) -> tuple[bool, float, int]:
        found = figure(job)
        return found is None, 0 if found is None else sign * found, -job.seq

    return sorted(jobs, key=place)


def _progress(job: JobRecord) -> float | None:
    return None if job.progress is None else fraction(job.progress)


def _speed(job: JobRecord) -> float | None:
    if job.status is not Status.RUNNING or job.progress is None:
        return None
    return job.progress.images_per_second


def _time_left(job: JobRecord) -> float | None:
    if job.status is not Status.RUNNING or job.progress is None:
        return None
    return seconds_left(job.spec, job.progress, job.evaluation)


def _top1(job: JobRecord) -> float | None:
    return None if job.evaluation is None else job.evaluation.top1


def _loss(job: JobRecord) -> float | None:
    return None if job.progress is None else job.progress.loss


_KEYS: Mapping[Order, Callable[[JobRecord], float | None]] = {
    Order.PRIORITY: lambda job: job.spec.priority,
    Order.PROGRESS: _progress,
    Order.SPEED: _speed,
    Order.TIME_LEFT: _time_left,
    Order.TOP1: _top1,
    Order.LOSS: _loss,
}
