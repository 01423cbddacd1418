"""When the learning rate drops; pure."""

from trainer.contract.checkpoint import ScheduleState
from trainer.contract.spec import OptimSpec, PlateauSchedule, StepSchedule


def learning_rate(optim: OptimSpec, state: ScheduleState) -> float:
    """Return ε in this state."""
    return optim.learning_rate * optim.schedule.factor**state.drops


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
