"""What follows conv1 and conv2: activation, LRN and max pooling, in the order of the recipe.

On the CPU one fused kernel each way does all that stands side by side; elsewhere, and where no
compiler is, they follow each other.
"""

import ctypes
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer.contract.layers import Layer
from trainer.contract.model_spec import ModelSpec
from trainer.kernels.library import address, load
from trainer.network.lrn import ALPHA, SIZE, Lrn, within_map_norm
from trainer.network.operations import activation, pooling

_POOL, _STRIDE = 3, 2  # section 3.4
_FUSED_DTYPES = (torch.float32, torch.bfloat16)


def pooled_size(size: int) -> int:
    """Return the edge of a map after overlapping pooling; a last, smaller window counts."""
    return 1 if size <= _POOL else -(-(size - _POOL) // _STRIDE) + 1


class EarlyLayer(nn.Module):
    """What `layer.then` says of layers 1 and 2 (section 3.5): an activation, LRN, a pool.

    The 2012 source's #145 has its own order: layer 1 is LRN, pool, activation; layer 2 has a second
    norm, within each map, before its pool. Of a layer that is removed the activation is not there.
    """

    kernel: Literal["fused", "banded", "compiled", "none"]
    """What computes LRN here; it decides the last bits."""

    def __init__(self, model: ModelSpec, layer: Layer, device: torch.device) -> None:
        super().__init__()
        self._activates_first = layer.then[0] == "activation"
        self._activates_last = layer.then[-1] == "activation"
        self._within_map = "within_map_norm" in layer.then
        self._rectifies = model.activation == "relu" and self._activates_first
        self._pools_at_once = model.overlapping_pool and not self._within_map
        self._activate, self._pool = activation(model), pooling(model)
        self._alpha = ALPHA / SIZE if model.recipe == "source2012" else ALPHA
        self.kernel = "none"
        if "lrn" in layer.then:
            self._lrn = Lrn(alpha=self._alpha, device=device)
            fused = device.type == "cpu" and load("early_layer") is not None
            self.kernel = "fused" if fused else self._lrn.kernels.name

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h', w'), pooled."""
        if self.kernel == "fused" and x.dtype in _FUSED_DTYPES:
            x = self._fused(x)
        else:
            x = self._one_by_one(x)
        return self._activate(x) if self._activates_last else x

    def _fused(self, x: Tensor) -> Tensor:
        if self._activates_first and not self._rectifies:
            x = self._activate(x)
        x = fused(x, alpha=self._alpha, rectifies=self._rectifies, pools=self._pools_at_once)
        return x if self._pools_at_once else self._finish(x)

    def _one_by_one(self, x: Tensor) -> Tensor:
        if self._activates_first:
            x = self._activate(x)
        if self.kernel != "none":
            x = self._lrn(x)
        return self._finish(x)

    def _finish(self, x: Tensor) -> Tensor:
        return self._pool(within_map_norm(x) if self._within_map else x)


def fused(x: Tensor, *, alpha: float, rectifies: bool, pools: bool) -> Tensor:
    """Return ReLU (if `rectifies`), LRN and overlapping max pooling (if `pools`) of x.

    (n, c, h, w) fp32 or bf16 on the CPU -> (n, c, h', w') of the same dtype, channels_last;
    computed in fp32.
    """
    result: Tensor = _Fused.apply(
        x.contiguous(memory_format=torch.channels_last), alpha, rectifies, pools
    )
    return result


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float, rectifies: bool, pools: bool) -> Tensor:
        n, c, h, w = x.shape
        size = (n, c, pooled_size(h), pooled_size(w)) if pools else (n, c, h, w)
        y = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        # Which of the nine of a window was its largest, laid out as y.
        where = torch.empty(y.numel() if pools else 0, dtype=torch.uint8)
        ctx.how = (alpha, rectifies, pools)
        _call("forward", x, x, y, where, how=ctx.how)
        ctx.save_for_backward(x, where)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, where = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        _call("backward", x, gradient, where, x, result, how=ctx.how)
        return result, None, None, None


def _call(which: str, maps: Tensor, *tensors: Tensor, how: tuple[float, bool, bool]) -> None:
    kernels = load("early_layer")
    assert kernels is not None
    assert all(tensor.is_cpu for tensor in tensors), "the kernel reads this machine's memory"
    n, c, h, w = maps.shape
    alpha, rectifies, pools = how
    kernels[f"{which}_{str(maps.dtype).removeprefix('torch.')}"](
        *map(address, tensors),
        *(ctypes.c_int64(size) for size in (n, h, w, c)),
        ctypes.c_float(alpha),
        ctypes.c_bool(rectifies),
        ctypes.c_bool(pools),
    )
