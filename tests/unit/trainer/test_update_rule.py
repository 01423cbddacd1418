from typing import Any

import numpy as np
import pytest
import torch

from trainer.contract.spec import OptimSpec, Recipe
from trainer.update_rule import Rates, UpdateRule, rates_of

NAMES = ("towers.0.conv1.weight", "towers.0.conv1.bias")


def _parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        for name in NAMES
    }


def _epsilon(step: int) -> float:
    # Two drops within the hundred steps.
    return 0.01 * 0.1 ** ((step >= 40) + (step >= 70))


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_a_hundred_steps_of_the_paper_written_down(recipe: Recipe) -> None:
    parameters = _parameters()
    rule = UpdateRule(parameters, OptimSpec(), recipe)
    random = np.random.default_rng(1)
    literal = {name: w.detach().numpy().copy() for name, w in parameters.items()}
    velocity = {name: np.zeros_like(w) for name, w in literal.items()}
    for step in range(100):
        epsilon = _epsilon(step)
        num_samples = 128 if step % 7 else 61
        for name, w in literal.items():
            summed = random.normal(size=w.shape) * num_samples
            parameters[name].grad = torch.from_numpy(summed.copy())
            # layers-145.cfg: biases learn twice as fast and do not decay.
            is_source_bias = recipe == "source2012" and name.endswith("bias")
            rate, decay = (2 * epsilon, 0.0) if is_source_bias else (epsilon, 0.0005)
            velocity[name] = 0.9 * velocity[name] - decay * rate * w - rate * (summed / num_samples)
            literal[name] = w + velocity[name]
        rule.step(learning_rate=epsilon, num_samples=num_samples)
    for name in NAMES:
        np.testing.assert_allclose(parameters[name].detach().numpy(), literal[name], rtol=1e-12)
        np.testing.assert_allclose(rule.velocity[name].numpy(), velocity[name], rtol=1e-10)


def _run(optimise: Any, parameter: torch.nn.Parameter, steps: range) -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    for step in steps:
        parameter.grad = torch.randn(4, 3, generator=random, dtype=torch.float64)
        optimise(step)
    return parameter.detach()


def test_torchs_sgd_agrees_until_the_rate_drops_and_not_after() -> None:
    def ours(last: int) -> torch.Tensor:
        parameter = _parameters()[NAMES[0]]
        rule = UpdateRule({NAMES[0]: parameter}, OptimSpec(), "paper")
        return _run(
            lambda step: rule.step(learning_rate=_epsilon(step), num_samples=1),
            parameter,
            range(last),
        )

    def torchs(last: int) -> torch.Tensor:
        parameter = _parameters()[NAMES[0]]
        sgd = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, weight_decay=0.0005)

        def step_of(step: int) -> None:
            sgd.param_groups[0]["lr"] = _epsilon(step)
            sgd.step()

        return _run(step_of, parameter, range(last))

    torch.testing.assert_close(ours(40), torchs(40))
    assert not torch.allclose(ours(41), torchs(41))


def test_velocity_keeps_its_size_when_the_rate_drops() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    rule = UpdateRule({"w": parameter}, OptimSpec(weight_decay=0.0), "paper")
    parameter.grad = torch.ones(1, dtype=torch.float64)
    rule.step(learning_rate=1.0, num_samples=1)
    parameter.grad = torch.zeros(1, dtype=torch.float64)
    rule.step(learning_rate=0.1, num_samples=1)
    assert rule.velocity["w"].item() == pytest.approx(-0.9)


def test_rates() -> None:
    assert rates_of("fc8.bias", "paper") == rates_of("fc8.weight", "source2012") == Rates()
    assert rates_of("fc8.bias", "source2012") == Rates(learning_rate=2.0, weight_decay=0.0)
