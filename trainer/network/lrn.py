"""Local response normalisation across the channels of a tower (paper section 3.3).

    b_i = a_i / (k + α · Σ a_j²)^β,   j within two channels of i in the same tower

with k = 2, n = 5, α = 1e-4, β = 0.75. The paper's α is not divided by n; the 2012 source divides
it (`layer.py`), as Caffe and torch do.

`lrn_reference` is the formula written down. `Lrn` computes the same from closed forms of value and
gradient over rows of channels, (images x height x width, channels), a free view of a channels_last
map: on a GPU by a kernel that torch.compile fuses, elsewhere by matrix products. The CPU's own is
`trainer/kernels/early_layer.cpp`; the products stand in for it where no compiler is.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn
from torch.utils._triton import has_triton

from data_shards.user_cache import cache_folder

K = 2.0
SIZE = 5
ALPHA = 1e-4
BETA = 0.75

# The 2012 source's second normalisation in layer 2, within each map (`layers-145.cfg`).
_MAP_SIZE = 5
_MAP_SCALE = 0.001 / _MAP_SIZE**2
_MAP_BIAS = 1.0  # assumed: the constant of its authors' public code

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def lrn_reference(x: Tensor, alpha: float) -> Tensor:
    """Return LRN of x, (n, c, h, w), literally; slow."""
    num_channels = x.shape[1]
    half = SIZE // 2
    normalised = []
    for i in range(num_channels):
        low, high = max(0, i - half), min(num_channels - 1, i + half)
        squares = x[:, low : high + 1].square().sum(dim=1)
        normalised.append(x[:, i] / (K + alpha * squares) ** BETA)
    return torch.stack(normalised, dim=1)


def within_map_norm(x: Tensor) -> Tensor:
    """Return x, (n, c, h, w), normalised by its 5 x 5 neighbours in each map: source2012 only."""
    # The pool counts padding zeros, so that times 25 it is the sum.
    squares = _MAP_SIZE**2 * F.avg_pool2d(x.square(), _MAP_SIZE, stride=1, padding=_MAP_SIZE // 2)
    return x * (_MAP_BIAS + _MAP_SCALE * squares) ** -BETA


@dataclass(frozen=True)
class Kernels:
    """Value and gradient of LRN over rows of channels, (rows, c)."""

    name: Literal["banded", "compiled"]
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    """(gradient of the output, input) -> gradient of the input."""


class Lrn(nn.Module):
    """LRN of (n, c, h, w) maps, fastest in channels_last; fp32 or bf16, computed in fp32."""

    def __init__(self, *, alpha: float, device: torch.device) -> None:
        super().__init__()
        compiled = device.type == "cuda" and has_triton()
        self.kernels = compiled_kernels(alpha) if compiled else banded_kernels(alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised maps."""
        n, c, h, w = x.shape
        # (n, c, h, w) -> (n, h, w, c) -> (n * h * w, c): a view if x is channels_last
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)
        normalised: Tensor = _RowLrn.apply(rows, self.kernels)
        return normalised.view(n, h, w, c).permute(0, 3, 1, 2)


class _RowLrn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.kernels = kernels
        return kernels.forward(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return ctx.kernels.backward(gradients[0].contiguous(), rows), None


# With s = k + α·Σ a², the gradient of the input is
#     g_i · s_i^-β - 2αβ · a_i · Σ_j g_j · a_j · s_j^(-β-1).
# s^-0.75 is r·√r with r = 1/√s: two square roots are cheaper than a power.


@functools.cache
def banded_kernels(alpha: float) -> Kernels:
    """Return kernels that sum over a window by a product with a band matrix: no compiler needed."""

    def scale(a: Tensor) -> Tensor:
        k = torch.full((), K, device=a.device)
        return torch.addmm(k, a.square(), _band(a.shape[1], a.device), alpha=alpha)

    def forward(rows: Tensor) -> Tensor:
        a = rows.float()
        r = scale(a).rsqrt_()
        return (a * r.mul_(r.sqrt())).to(rows.dtype)

    def backward(gradient: Tensor, rows: Tensor) -> Tensor:
        a, g = rows.float(), gradient.float()
        s = scale(a)
        r = s.rsqrt()
        gp = g.mul(r.mul_(r.sqrt()))
        sums = (gp * a).div_(s) @ _band(a.shape[1], a.device)
        return gp.addcmul_(a, sums, value=-2 * alpha * BETA).to(rows.dtype)

    return Kernels("banded", forward, backward)


@functools.cache
def compiled_kernels(alpha: float) -> Kernels:
    """Return kernels fused by torch.compile; the first use of each channel count compiles."""
    if not os.environ.get(_CACHE_VARIABLE):
        os.environ[_CACHE_VARIABLE] = str(cache_folder("inductor"))

    def window(v: Tensor) -> Tensor:
        c = v.shape[1]
        padded = F.pad(v, (SIZE // 2, SIZE // 2))
        return sum((padded[:, j : j + c] for j in range(1, SIZE)), start=padded[:, :c])

    def forward(rows: Tensor) -> Tensor:
        a = rows.float()
        r = torch.rsqrt(K + alpha * window(a * a))
        return (a * (r * torch.sqrt(r))).to(rows.dtype)

    def backward(gradient: Tensor, rows: Tensor) -> Tensor:
        a, g = rows.float(), gradient.float()
        s = K + alpha * window(a * a)
        r = torch.rsqrt(s)
        gp = g * (r * torch.sqrt(r))
        return (gp - 2 * alpha * BETA * a * window(gp * a / s)).to(rows.dtype)

    return Kernels("compiled", _compiled(forward), _compiled(backward))


def _compiled(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    fused = torch.compile(kernel)

    def call(*rows: Tensor) -> Tensor:
        # Dynamo asks for .grad, and torch warns where a tensor that has a past is asked for it.
        leaves = [tensor.detach() for tensor in rows]
        # One program for any number of rows, so that no batch size compiles anew.
        for leaf in leaves:
            torch._dynamo.mark_dynamic(leaf, 0)
        result: Tensor = fused(*leaves)
        return result

    return call


@functools.cache
def _band(num_channels: int, device: torch.device) -> Tensor:
    """Return float32 (c, c): 1 where two channels lie within a window of each other."""
    channels = torch.arange(num_channels, device=device)
    return ((channels[:, None] - channels[None, :]).abs() <= SIZE // 2).float()
