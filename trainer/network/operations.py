"""The operations between layers that a spec chooses: what activates, what pools."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor

from trainer.contract.model_spec import ModelSpec


def activation(model: ModelSpec) -> Callable[[Tensor], Tensor]:
    """Return ReLU, which works in place, or tanh (section 3.1)."""
    return torch.tanh if model.activation == "tanh" else _relu


def pooling(model: ModelSpec) -> Callable[[Tensor], Tensor]:
    """Return the max pool over maps (n, c, h, w) (section 3.4).

    Either halves the edge, rounding down: 55 -> 27 -> 13 -> 6.
    """
    return _overlapping if model.overlapping_pool else _side_by_side


def _relu(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


def _overlapping(x: Tensor) -> Tensor:
    return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


def _side_by_side(x: Tensor) -> Tensor:
    return F.max_pool2d(x, kernel_size=2, stride=2)
