"""Where the phases of a step begin on a GPU: events in its stream, which nobody waits for."""

import itertools
from collections.abc import Callable
from typing import Protocol, cast

import torch

from trainer.contract.events import Phase


class Mark(Protocol):
    """A moment of a device, known once the device has reached it."""

    def elapsed_time(self, later: "Mark") -> float:
        """Return the milliseconds from this moment to a later one."""
        ...


class PhaseMarks:
    """The marks of one step, read when its answer is there: the device is past them then."""

    def __init__(self, mark: Callable[[], Mark]) -> None:
        """`mark` makes one where the device's work has been queued so far."""
        self._mark = mark
        self._begun: list[tuple[Phase, Mark]] = []

    def begin(self, phase: Phase) -> None:
        """Note where a phase begins, and the one before ends."""
        self._begun.append((phase, self._mark()))

    def seconds(self) -> dict[Phase, float]:
        """Return how long the device was at each phase; the last has no end."""
        seconds: dict[Phase, float] = {}
        for (phase, begun), (_, ended) in itertools.pairwise(self._begun):
            spent = max(begun.elapsed_time(ended), 0.0) / 1000
            seconds[phase] = seconds.get(phase, 0.0) + spent
        return seconds


def marks_on(device: torch.device) -> PhaseMarks:
    """Return marks in the stream that a GPU computes on."""

    def mark() -> Mark:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return cast(Mark, event)

    return PhaseMarks(mark)
