"""The lineage of a run: which steps each attempt stands for."""

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.contract.attempt import AttemptOrder
from trainer.contract.order_file import order_of
from trainer.contract.run_directory import AttemptDirectory, RunDirectory


@dataclass(frozen=True)
class Span:
    """The steps of one attempt that count: [start, stop), with no stop for the last attempt."""

    attempt: AttemptDirectory
    start: int
    stop: int | None

    def covers(self, step: int) -> bool:
        """Say whether what this attempt did in `step` counts."""
        return self.start <= step and (self.stop is None or step < self.stop)


def spans(run: RunDirectory, attempts: Iterable[int] | None = None) -> list[Span]:
    """Return the spans of those attempts that began, in order; None: of all.

    A step that was trained again counts for the attempt that trained it last.
    """
    numbers = range(1, run.newest_attempt() + 1) if attempts is None else sorted(attempts)
    began = [
        (attempt, _start_step(order))
        for attempt in map(run.attempt, numbers)
        if (order := order_of(attempt)) is not None
    ]
    return [
        Span(attempt, start, min((later for _, later in began[place + 1 :]), default=None))
        for place, (attempt, start) in enumerate(began)
    ]


def _start_step(order: AttemptOrder) -> int:
    return 0 if order.resume_from is None else step_of(order.resume_from)


def step_of(checkpoint: str) -> int:
    """Return the step in a checkpoint folder's name, attempts/N/checkpoints/step-XXXXXXXX."""
    return int(checkpoint.rpartition("/step-")[2])
