"""What is due after which step of a job; pure."""

from dataclasses import dataclass
from typing import Self

from trainer.contract.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """Steps are counted over the whole job, so that after step k there are k + 1 of them done."""

    steps_per_epoch: int
    planned_steps: int
    """Of the whole job; of a calibration, at most."""
    interval_steps: int | None
    """Between checkpoints; None: at the ends of epochs alone."""

    @classmethod
    def of(cls, spec: JobSpec, *, steps_per_epoch: int) -> Self:
        """Return a spec's, for a training set of so many steps an epoch."""
        steps, max_steps = spec.optim.epochs * steps_per_epoch, spec.optim.max_steps
        if spec.kind == "calibrate":
            steps, max_steps = spec.calibration.warm_up_steps + spec.calibration.steps, None
        return cls(
            steps_per_epoch=steps_per_epoch,
            planned_steps=steps if max_steps is None else min(steps, max_steps),
            interval_steps=spec.checkpoint.interval_steps,
        )

    def epochs(self, steps_done: int) -> float:
        """Return how many epochs so many steps are."""
        return steps_done / self.steps_per_epoch

    def ends_epoch(self, steps_done: int) -> bool:
        """Whether the schedule moves on."""
        return steps_done % self.steps_per_epoch == 0

    def evaluates(self, steps_done: int) -> bool:
        """Whether the network is measured: at the end of an epoch and of the job."""
        return self.ends_epoch(steps_done) or steps_done == self.planned_steps

    def saves(self, steps_done: int) -> bool:
        """Whether a checkpoint is written, even where nobody asks for a pause."""
        interval = self.interval_steps
        interval_is_over = interval is not None and steps_done % interval == 0
        return interval_is_over or self.evaluates(steps_done)
