from dataclasses import dataclass

import pytest

from trainer.contract.events import Phase
from trainer.devices.phase_marks import Mark, PhaseMarks


@dataclass
class At:
    """A moment of a device with a clock that is seen, in milliseconds."""

    ms: float

    def elapsed_time(self, later: Mark) -> float:
        assert isinstance(later, At)
        return later.ms - self.ms


def test_a_phase_lasts_until_the_next_and_its_stretches_add_up() -> None:
    moments = iter((0.0, 10.0, 30.0, 35.0, 35.0, 90.0))
    marks = PhaseMarks(lambda: At(next(moments)))
    phases: list[Phase] = ["transfer", "forward", "exchange", "forward", "backward", "other"]
    for phase in phases:
        marks.begin(phase)
    assert marks.seconds() == pytest.approx(
        {"transfer": 0.01, "forward": 0.02, "exchange": 0.005, "backward": 0.055}
    )


def test_nothing_is_told_of_what_was_not_marked() -> None:
    marks = PhaseMarks(lambda: At(0.0))
    assert marks.seconds() == {}
    marks.begin("forward")
    assert marks.seconds() == {}
