"""The paper's update rule (section 5; `weights.cu` of the 2012 source).

    v <- 0.9·v - 0.0005·ε·w - ε·g,   w <- w + v

with g the mean gradient over the batch. ε is inside v: when it drops, the velocity gathered before
keeps its size and fades, where torch.optim.SGD (ε outside its buffer) shrinks it at once.

On the CPU a kernel reads and writes everything once. Without a compiler torch's operations follow
each other and give the same bits. On a GPU it is torch's fused SGD, which goes over all parameters
at once and can leave them alone where the GPU itself finds that it should: no host needs to wait
for the loss (docs/decisions/0008).
"""

import ctypes
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contract.model_spec import Recipe
from trainer.contract.optim_spec import OptimSpec
from trainer.kernels.library import address, load
from trainer.network.working_copy import WorkingCopy


@dataclass(frozen=True)
class Rates:
    """What multiplies ε and the weight decay for one parameter."""

    learning_rate: float = 1.0
    weight_decay: float = 1.0


def rates_of(parameter: str, recipe: Recipe) -> Rates:
    """Return a parameter's rates by its name: the 2012 source treats biases differently."""
    if recipe == "source2012" and parameter.endswith(".bias"):
        return Rates(learning_rate=2.0, weight_decay=0.0)
    return Rates()


@dataclass(frozen=True, kw_only=True)
class Factors:
    """v <- momentum·v + decay·w + rate·g."""

    momentum: float
    decay: float
    rate: float


class UpdateRule:
    """Holds the velocity of each parameter and applies the rule to all."""

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        optim: OptimSpec,
        recipe: Recipe,
        working_copies: Mapping[str, WorkingCopy] | None = None,
    ) -> None:
        self.velocity: dict[str, Tensor] = {
            name: torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in parameters.items()
        }
        self._parameters = dict(parameters)
        self._working = dict(working_copies or {})
        self._alike: dict[tuple[Rates, torch.device], list[str]] = {}
        for name, parameter in parameters.items():
            alike = rates_of(name, recipe), parameter.device
            self._alike.setdefault(alike, []).append(name)
        self._momentum = optim.momentum
        self._weight_decay = optim.weight_decay

    @torch.no_grad()
    def step(self, *, learning_rate: float, num_samples: float, skip: Tensor | None = None) -> None:
        """Update every parameter from its gradient, a sum over `num_samples` samples.

        With `skip`, float32 () of 0 or 1, nothing is changed where it is 1. It is read by the
        device that computes; a GPU's gradients are scaled in place.
        """
        for (rates, device), names in self._alike.items():
            epsilon = learning_rate * rates.learning_rate
            factors = Factors(
                momentum=self._momentum,
                decay=-epsilon * self._weight_decay * rates.weight_decay,
                rate=-epsilon / num_samples,
            )
            weights: list[Tensor] = [self._parameters[name] for name in names]
            velocities = [self.velocity[name] for name in names]
            gradients = [_gradient(weight) for weight in weights]
            # From the first tower's GPU to the second's it is four bytes that no host waits for.
            skip_here = None if skip is None else skip.to(device, non_blocking=True)
            if device.type == "cuda":
                update_together(weights, velocities, gradients, factors, skip_here)
                self._write_copies(names)
            elif skip_here is None or not skip_here:
                for name, w, v, g in zip(names, weights, velocities, gradients, strict=True):
                    update(w, v, g, factors, self._working.get(name))

    def _write_copies(self, names: Sequence[str]) -> None:
        """Bring all working copies up to date at once: one by one, each costs a launch."""
        used = [
            (working, working.place, self._parameters[name])
            for name in names
            if (working := self._working.get(name)) is not None and working.place is not None
        ]
        if not used:
            return
        torch._foreach_copy_([place for _, place, _ in used], [weight for *_, weight in used])
        for working, *_ in used:
            working.is_written()


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


def update(
    w: Tensor, v: Tensor, g: Tensor, factors: Factors, working: WorkingCopy | None = None
) -> None:
    """Update one weight and its velocity in place, by the kernel where it takes them.

    All are fp32; g may be bf16. The kernel writes the weight's working copy too, if it has one.
    """
    kernels = load("update_rule", "-ffp-contract=off")
    copy = None if working is None else working.place
    if kernels is None or not _fit_kernels(w, v, g, copy):
        update_one_by_one(w, v, g, factors)
        return
    kernels[f"update_{str(g.dtype).removeprefix('torch.')}"](
        *map(address, (w, v, g, copy)),
        ctypes.c_int64(w.numel()),
        *map(ctypes.c_float, (factors.momentum, factors.decay, factors.rate)),
    )
    # torch has not seen what a kernel wrote.
    torch.autograd.graph.increment_version(w)
    if working is not None and copy is not None:
        working.is_written()


def _fit_kernels(w: Tensor, v: Tensor, g: Tensor, copy: Tensor | None) -> bool:
    """Whether all lie in CPU memory without gaps and in one order, as autograd makes them."""
    return (
        all(each.device.type == "cpu" for each in (w, v, g))
        and w.dtype == v.dtype == torch.float32
        and g.dtype in (torch.float32, torch.bfloat16)
        and (copy is None or (copy.dtype == torch.bfloat16 and copy.stride() == w.stride()))
        and w.stride() == v.stride() == g.stride()
        and (w.is_contiguous() or w.is_contiguous(memory_format=torch.channels_last))
    )


def update_one_by_one(w: Tensor, v: Tensor, g: Tensor, factors: Factors) -> None:
    """Do what the kernel does, each product and each sum by itself and rounded.

    Not `add_(..., alpha=)`: torch fuses product and sum in vectors, but not in what is left of
    them, so that the last bits would depend on the number of threads.
    """
    v.mul_(factors.momentum)
    v.add_(w * factors.decay)
    v.add_(g.to(v.dtype) * factors.rate)
    w.add_(v)


def update_together(
    weights: list[Tensor],
    velocities: list[Tensor],
    gradients: list[Tensor],
    factors: Factors,
    skip: Tensor | None = None,
) -> None:
    """Update all weights and velocities of one device in place, unless `skip` holds 1 there.

    By the operation behind `torch.optim.SGD(fused=True)`, with what mixed precision skips a step
    by; so that the bits are the same with and without `skip`. Gradients are scaled in place.
    """
    device = weights[0].device
    torch._fused_sgd_(
        weights,
        _laid_out_as(velocities, gradients),
        velocities,
        # It has v <- momentum·v + (g / grad_scale + weight_decay·w), then w <- w - lr·v.
        momentum=max(factors.momentum, sys.float_info.min),  # on a GPU it refuses zero
        weight_decay=factors.decay,
        grad_scale=torch.full((), 1 / factors.rate, dtype=torch.float32, device=device),
        lr=-1.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
        found_inf=skip,
    )
    # The fused operation does not count as a change.
    torch.autograd.graph.increment_version(weights)


def _laid_out_as(velocities: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
    """Return gradients in their velocities' dtype and strides: so the fused operation wants them.

    Those that only have another dtype are copied at once.
    """
    fitting = list(gradients)
    copies, originals = [], []
    for place, (v, g) in enumerate(zip(velocities, gradients, strict=True)):
        if g.dtype == v.dtype and g.stride() == v.stride():
            continue
        fitting[place] = torch.empty_like(v)
        if g.stride() == v.stride():
            copies.append(fitting[place])
            originals.append(g)
        else:
            fitting[place].copy_(g)
    if copies:
        torch._foreach_copy_(copies, originals)
    return fitting
