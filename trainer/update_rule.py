"""The paper's update rule (section 5; `weights.cu` of the 2012 source).

    v <- 0.9·v - 0.0005·ε·w - ε·g,   w <- w + v

with g the mean gradient over the batch. ε is inside v: when it drops, the velocity gathered before
keeps its size and fades, where torch.optim.SGD (ε outside its buffer) shrinks it at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contract.spec import OptimSpec, Recipe


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


class UpdateRule:
    """Holds the velocity of each parameter and applies the rule to all."""

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], optim: OptimSpec, recipe: Recipe
    ) -> None:
        self.velocity: dict[str, Tensor] = {
            name: torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in parameters.items()
        }
        self._parameters = dict(parameters)
        self._rates = {name: rates_of(name, recipe) for name in parameters}
        self._momentum = optim.momentum
        self._weight_decay = optim.weight_decay

    @torch.no_grad()
    def step(self, *, learning_rate: float, num_samples: float) -> None:
        """Update every parameter from its gradient, a sum over `num_samples` samples."""
        for name, w in self._parameters.items():
            assert w.grad is not None
            v, rates = self.velocity[name], self._rates[name]
            epsilon = learning_rate * rates.learning_rate
            v.mul_(self._momentum)
            v.add_(w, alpha=-epsilon * self._weight_decay * rates.weight_decay)
            v.add_(w.grad, alpha=-epsilon / num_samples)
            w.add_(v)
