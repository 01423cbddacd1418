"""The CPU playing a device that answers late: nothing is read of a step before it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor


@contextmanager
def answering_late() -> Iterator[list[str]]:
    """Let every step constructed meanwhile be one of a GPU, but for who computes it.

    Yields what happens, in order: "queue 0", "queue 1", "read 0", numbered from the first step.
    """
    happened: list[str] = []

    class Late:
        is_late = True
        num_queued = 0

        def __init__(self, number: Tensor) -> None:
            # Of its own, as what is copied from a GPU is.
            self._number = number.clone()
            self._step, Late.num_queued = Late.num_queued, Late.num_queued + 1
            happened.append(f"queue {self._step}")

        def read(self) -> float:
            happened.append(f"read {self._step}")
            return float(self._number)

    with (
        mock.patch("trainer.learning.train_step._answers_late", return_value=True),
        mock.patch("trainer.learning.train_step._Arriving", Late),
    ):
        yield happened
