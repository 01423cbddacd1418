"""What can go wrong in training, in words for people, and the reason any error stands for."""

import errno
import signal

from data_shards.errors import (
    DataError,
    PlanError,
    StorageDeniedError,
    StorageError,
    WorkerDiedError,
)
from trainer.contract.attempt import Reason
from trainer.contract.checkpoint_folder import CheckpointError
from trainer.contract.durable import DiskFullError


class TrainingError(Exception):
    """Training cannot go on; the subclass says why."""

    reason = Reason.CRASHED


class BadSpecError(TrainingError):
    """The spec cannot be trained as it stands."""

    reason = Reason.BAD_SPEC


class BadDataError(TrainingError):
    """Too many samples are corrupt, or all of a set, or the checkpoint to begin with is."""

    reason = Reason.BAD_DATA


class NonFiniteLossError(TrainingError):
    """The loss is infinite or not a number."""

    reason = Reason.NONFINITE_LOSS

    def __init__(self, *, step: int, layer: str | None) -> None:
        where = f"{layer} is the first layer whose output is" if layer else "the loss alone is"
        super().__init__(
            f"step {step}: the loss is not finite ({where} not finite); "
            "use a smaller optim.learning_rate, or another model.init"
        )


class NonFiniteWeightsError(TrainingError):
    """A weight or a velocity is infinite or not a number, though the loss was finite."""

    reason = Reason.NONFINITE_LOSS

    def __init__(self, *, step: int, parameter: str) -> None:
        super().__init__(
            f"after step {step} {parameter} is not finite, so no checkpoint is written; "
            "use a smaller optim.learning_rate, or another model.init"
        )


class NoDeviceError(TrainingError):
    """The devices the attempt was promised are not there."""

    reason = Reason.NO_DEVICE


class ReplicaGoneError(TrainingError):
    """Another replica of the attempt has ended, or cannot be reached."""

    def __init__(self, problem: object) -> None:
        super().__init__(
            "another replica has ended or cannot be reached, which its own failure or the log of "
            f"its node explains ({problem})"
        )


class StaleAttemptError(TrainingError):
    """A later attempt has begun, or the control plane disowns this one."""

    reason = Reason.STALE


def is_of_another(error: BaseException) -> bool:
    """Whether an error only tells that another process was gone, another replica or a loader.

    Who was killed cannot say of what; a loader that ended otherwise did so by itself.
    """
    if isinstance(error, WorkerDiedError):
        return error.exit_code == -signal.SIGKILL
    return isinstance(error, ReplicaGoneError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or this machine had not the memory that was asked for."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError, of any device, and Ray's; neither need be imported here.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        # torch has no error of its own for the host's memory, nor Python for that of a stack.
        isinstance(error, RuntimeError)
        and any(
            words in str(error) for words in ("can't allocate memory", "can't start new thread")
        )
    )


def reason_of(error: BaseException) -> Reason:
    """Return the reason an error stands for, by which the service decides on another attempt."""
    if isinstance(error, TrainingError | CheckpointError):
        return error.reason
    if isinstance(error, PlanError):
        return Reason.BAD_SPEC
    # Credentials, drivers and the cache's settings are mended, or another node has them right.
    if isinstance(error, StorageError):
        is_denied = isinstance(error, StorageDeniedError)
        return Reason.NO_ACCESS if is_denied else Reason.NO_STORAGE
    if isinstance(error, DataError):
        return Reason.BAD_DATA
    if isinstance(error, DiskFullError):
        return Reason.NO_STORAGE
    return Reason.OUT_OF_MEMORY if is_out_of_memory(error) else Reason.CRASHED
