"""An attempt that dies where its job's name says: `python -m tests.faults.doomed_attempt FOLDER`.

`poison` dies after three steps, each time. `dies NUMBER MOMENT` dies in the first attempt: before,
or after, what it does NUMBER-th to the disk as it saves checkpoints, or within, where that is to
write a file of tensors. `torn ...` writes checkpoints under their final names at once, `drawn ...`
draws dropout from a stream of the process, and `still ...` goes on with a velocity of zero.
`... slow ...` takes its time in the first attempt.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.faults import attempt_here
from trainer.attempt.attempt_folder import attempt_at
from trainer.checkpoints import checkpoint
from trainer.contract.attempt import AttemptOrder
from trainer.contract.checkpoint import VELOCITY_NAME, CheckpointManifest
from trainer.contract.order_file import read_order
from trainer.network import dropout

_CALLS = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir")
POISON_STEPS = 3
# Of 104 steps: longer than it takes a control plane to start anew.
SLOW_S = 0.5


class Saving:
    """Counts what the checkpoint thread does to the disk, and dies of it."""

    def __init__(self, fatal: int, moment: str) -> None:
        self._fatal, self._moment = fatal, moment
        self._num_done = 0

    def patch(self) -> None:
        for name in _CALLS:
            setattr(os, name, self._mortal(getattr(os, name)))
        checkpoint.save_file = self._mortal(save_file)  # type: ignore[attr-defined]

    def _mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def mortal(*given: Any, **options: Any) -> Any:
            if not threading.current_thread().name.startswith("checkpoint"):
                return call(*given, **options)
            self._num_done += 1
            is_fatal = self._num_done == self._fatal
            if is_fatal and self._moment == "before":
                die()
            try:
                return call(*given, **options)
            finally:
                if is_fatal:
                    if call.__name__ == "save_file":
                        file = Path(given[1])
                        os.truncate(file, file.stat().st_size // 2)
                    die()

        return mortal


def die() -> None:
    """End this process as nothing but the kernel can."""
    os.kill(os.getpid(), signal.SIGKILL)


def _write_in_place(
    snapshot: checkpoint.Snapshot, folder: Path, check_fence: Callable[[], None]
) -> CheckpointManifest:
    check_fence()
    return checkpoint._write_into(folder, snapshot)


_copy_into = checkpoint._copy_into


def _copy_but_velocity(folder: Path, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    _copy_into(folder, name, tensors)
    if name == VELOCITY_NAME:
        for tensor in tensors.values():
            tensor.zero_()


_stream = torch.Generator().manual_seed(0)


def _next_of_stream(
    _draw: dropout.DropoutDraw, num_images: int, *, num_units: int, **_place: object
) -> torch.Tensor:
    return torch.rand((num_images, num_units), generator=_stream) < 0.5


class PoisonedLedger(attempt_here.PacedLedger):
    """Dies of a step."""

    def write(self, **step: Any) -> None:
        super().write(**step)
        if step["step"] == POISON_STEPS:
            die()


def doom(order: AttemptOrder) -> None:
    """Have this process die where the job's name says."""
    name = order.spec.name
    if name == "poison":
        attempt_here.PacedLedger = PoisonedLedger  # type: ignore[misc]
    if name.startswith("torn "):
        checkpoint.write_checkpoint = _write_in_place
    if name.startswith("drawn "):
        dropout.mask = _next_of_stream  # type: ignore[assignment]
    if name.startswith("still "):
        checkpoint._copy_into = _copy_but_velocity  # type: ignore[assignment]
    words = name.split()
    if "slow" in words and order.attempt == 1:
        attempt_here.PacedLedger._pace_s = SLOW_S
    if "dies" in words and order.attempt == 1:
        number, moment = words[-2:]
        Saving(int(number), moment).patch()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    doom(read_order(attempt_at(where)))
    sys.exit(attempt_here.main(where))
