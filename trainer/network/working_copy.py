"""Weights in the arithmetic of the towers: kept in fp32, used in bf16.

A working copy is made when its weight has changed, not at every use: once a step, however many
micro-batches read it, and in the same pass as the update where that can write both.
"""

from typing import Any

import torch
from torch import Tensor


class WorkingCopy:
    """One parameter in another dtype.

    Changes are those that torch counts: in place, by whatever operation. It does not count what is
    done to `parameter.data`, nor can a parameter be another's successor: load into it, not over it.
    """

    def __init__(self, parameter: Tensor) -> None:
        self._parameter = parameter
        self._copy: Tensor | None = None
        self._version = -1

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copy behind: a parameter that is copied or unpickled counts from 0 again."""
        return {"_parameter": self._parameter, "_copy": None, "_version": -1}

    def of_dtype(self, dtype: torch.dtype) -> Tensor:
        """Return the parameter in a dtype; what flows back reaches the parameter's gradient.

        It gets there in this dtype where the parameter's `grad_dtype` is None.
        """
        if dtype == self._parameter.dtype:
            return self._parameter
        if self._copy is None or self._copy.dtype != dtype:
            # Though its first use be in inference mode, its next may be in training.
            with torch.inference_mode(mode=False):
                self._copy = torch.empty_like(self._parameter, dtype=dtype, requires_grad=False)
            self._version = -1
        if self._version != self._parameter._version:
            self._copy.copy_(self._parameter.detach())
            self._version = self._parameter._version
        borrowed: Tensor = _Borrowed.apply(self._parameter, self._copy)
        return borrowed

    @property
    def place(self) -> Tensor | None:
        """Where an update of the parameter may write its copy at once; None before any use."""
        return self._copy

    def is_written(self) -> None:
        """Take note that the copy was written with the parameter's latest change."""
        self._version = self._parameter._version


class _Borrowed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, parameter: Tensor, copy: Tensor) -> Tensor:
        return copy.view_as(copy)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
