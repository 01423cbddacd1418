"""The CPU playing a device that answers late: nothing is read of a step before it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor


class _Late:
    is_late = True

    def __init__(self, number: Tensor) -> None:
        # Of its own, as what is copied from a GPU is.
        self._number = number.clone()

    def read(self) -> float:
        return float(self._number)


@contextmanager
def answering_late() -> Iterator[None]:
    """Let every step constructed meanwhile be one of a GPU, but for who computes it."""
    with (
        mock.patch("trainer.train_step._answers_late", return_value=True),
        mock.patch("trainer.train_step._Arriving", _Late),
    ):
        yield
