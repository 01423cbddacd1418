"""How the learning rate ε goes: scaled for large batches, warmed up, dropped; pure."""

import math

from trainer.contract.checkpoint import ScheduleState
from trainer.contract.optim_spec import OptimSpec, PlateauSchedule, StepSchedule

_PAPERS_BATCH_SIZE = 128  # section 5


def learning_rate(
    optim: OptimSpec, state: ScheduleState, *, step: int, steps_per_epoch: int
) -> float:
    """Return ε of a step, the first being 0.

    Over the warm-up it rises by the same amount each step, from the unscaled rate at step 0 to the
    scaled one (Goyal et al. 2017, section 2.2); a drop multiplies whatever it has reached.
    """
    scaled = optim.learning_rate * _scale(optim)
    warmup_steps = optim.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        risen = (scaled - optim.learning_rate) * step / warmup_steps
        return (optim.learning_rate + risen) * optim.schedule.factor**state.drops
    return scaled * optim.schedule.factor**state.drops


def _scale(optim: OptimSpec) -> float:
    """Return what a batch that is not the paper's multiplies ε by."""
    ratio = optim.global_batch_size / _PAPERS_BATCH_SIZE
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[optim.rate_scaling]


def after_epoch(
    schedule: PlateauSchedule | StepSchedule,
    state: ScheduleState,
    *,
    epochs_done: int,
    error: float,
) -> ScheduleState:
    """Return the state after an epoch that ended with this validation top-1 error."""
    improved = state.best_error is None or error < state.best_error
    best_error = error if improved else state.best_error
    epochs_since_best = 0 if improved else state.epochs_since_best + 1
    drops = state.drops
    if isinstance(schedule, StepSchedule):
        drops = sum(epoch <= epochs_done for epoch in schedule.epochs)
    elif epochs_since_best >= schedule.patience_epochs and drops < schedule.max_drops:
        drops += 1
        epochs_since_best = 0
    return ScheduleState(drops=drops, best_error=best_error, epochs_since_best=epochs_since_best)
