from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.compiler import needs_compiler
from tests.gpu import GPU, needs_gpu
from trainer.contract.model_spec import Recipe
from trainer.contract.optim_spec import OptimSpec
from trainer.learning.update_rule import (
    Factors,
    Rates,
    UpdateRule,
    rates_of,
    update,
    update_one_by_one,
    update_together,
)
from trainer.network.working_copy import WorkingCopy

CPU = torch.device("cpu")
DEVICES = CPU, pytest.param(GPU, marks=needs_gpu)

NAMES = ("towers.0.conv1.weight", "towers.0.conv1.bias")


def _parameters(dtype: torch.dtype = torch.float64) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.nn.Parameter(
            torch.randn(4, 3, generator=generator, dtype=torch.float64).to(dtype)
        )
        for name in NAMES
    }


def _epsilon(step: int) -> float:
    # Two drops within the hundred steps.
    return 0.01 * 0.1 ** ((step >= 40) + (step >= 70))


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_hundred_steps_of_the_paper_written_down(
    recipe: Recipe, dtype: torch.dtype, rtol: float
) -> None:
    parameters = _parameters(dtype)
    rule = UpdateRule(parameters, OptimSpec(), recipe)
    random = np.random.default_rng(1)
    literal = {name: w.detach().double().numpy().copy() for name, w in parameters.items()}
    velocity = {name: np.zeros_like(w) for name, w in literal.items()}
    for step in range(100):
        epsilon = _epsilon(step)
        num_samples = 128 if step % 7 else 61
        for name, w in literal.items():
            summed = random.normal(size=w.shape) * num_samples
            parameters[name].grad = torch.from_numpy(summed).to(dtype, copy=True)
            # layers-145.cfg: biases learn twice as fast and do not decay.
            is_source_bias = recipe == "source2012" and name.endswith("bias")
            rate, decay = (2 * epsilon, 0.0) if is_source_bias else (epsilon, 0.0005)
            velocity[name] = 0.9 * velocity[name] - decay * rate * w - rate * (summed / num_samples)
            literal[name] = w + velocity[name]
        rule.step(learning_rate=epsilon, num_samples=num_samples)
    for name in NAMES:
        w, v = parameters[name].detach().numpy(), rule.velocity[name].numpy()
        # What sums to little has the rounding of what was summed.
        np.testing.assert_allclose(w, literal[name], rtol=rtol, atol=rtol)
        np.testing.assert_allclose(v, velocity[name], rtol=rtol, atol=rtol / 10)


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


def _three(shape: tuple[int, ...], seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=generator) for _ in range(3)]
    if len(shape) == 4:
        tensors = [tensor.to(memory_format=torch.channels_last) for tensor in tensors]
    return tensors


@needs_compiler
@given(
    shape=st.sampled_from([(1,), (15,), (16,), (1000,), (70_001,), (40, 31), (8, 6, 5, 3)]),
    gradient=st.sampled_from([torch.float32, torch.bfloat16]),
    momentum=st.floats(0, 1),
    decay=st.floats(-1e-3, 0),
    rate=st.floats(-1, 0),
)
def test_kernel_and_torch_give_the_same_bits(
    shape: tuple[int, ...], gradient: torch.dtype, momentum: float, decay: float, rate: float
) -> None:
    factors = Factors(momentum=momentum, decay=decay, rate=rate)
    one, other, again = (
        (w, v, g.to(gradient)) for w, v, g in (_three(shape), _three(shape), _three(shape))
    )
    update(*one, factors)
    update_one_by_one(*other, factors)
    torch.set_num_threads(2)
    update(*again, factors)
    torch.set_num_threads(1)
    for a, b, c in zip(one, other, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_without_a_compiler_the_weights_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> dict[str, torch.nn.Parameter]:
        parameters = _parameters(torch.float32)
        rule = UpdateRule(parameters, OptimSpec(), "source2012")
        generator = torch.Generator().manual_seed(4)
        for _ in range(3):
            for parameter in parameters.values():
                parameter.grad = torch.randn(4, 3, generator=generator)
            rule.step(learning_rate=0.01, num_samples=3)
        return parameters

    fast = train()
    monkeypatch.setattr("trainer.learning.update_rule.load", lambda *_: None)
    slow = train()
    assert all(torch.equal(fast[name], slow[name]) for name in NAMES)


@pytest.mark.parametrize("strange", ["dtype", "gaps", "order"])
def test_what_the_kernel_does_not_take_is_updated_all_the_same(strange: str) -> None:
    w, v, g = _three((6, 4))
    if strange == "dtype":
        w, v, g = w.double(), v.double(), g.double()
    elif strange == "gaps":
        w = torch.stack([w, w], dim=-1)[..., 0]
    else:
        g = g.T.contiguous().T
    factors = Factors(momentum=0.9, decay=-1e-3, rate=-0.1)
    expected = 0.9 * v - 1e-3 * w - 0.1 * g
    weights = w + expected
    update(w, v, g, factors)
    torch.testing.assert_close(v, expected)
    torch.testing.assert_close(w, weights)


def _lists(
    gradient: torch.dtype = torch.float32, device: torch.device = CPU
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Weights, velocities, gradients, as `update_together` takes them."""
    several = [_three(shape) for shape in ((3, 4), (7,), (70_001,), (8, 6, 5, 3))]
    weights, velocities, gradients = (
        [each.to(device) for each in column] for column in zip(*several, strict=True)
    )
    return weights, velocities, [g.to(gradient) for g in gradients]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("decay", [-1e-3, 0.0])
def test_all_at_once_is_the_same_rule(
    device: torch.device, gradient: torch.dtype, momentum: float, decay: float
) -> None:
    factors = Factors(momentum=momentum, decay=decay, rate=-0.1)
    one, other = _lists(gradient, device), _lists(gradient, device)
    for w, v, g in zip(*one, strict=True):
        update_one_by_one(w, v, g, factors)
    update_together(*other, factors)
    torch.testing.assert_close(one[:2], other[:2])


def test_all_at_once_takes_gradients_that_lie_otherwise() -> None:
    factors = Factors(momentum=0.9, decay=-1e-3, rate=-0.1)
    one, other = _lists(), _lists()
    other[2][0] = other[2][0].T.contiguous().T
    other[2][3] = other[2][3].contiguous()
    for lists in (one, other):
        update_together(*lists, factors)
    assert all(map(torch.equal, one[0] + one[1], other[0] + other[1]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", [torch.float32, torch.bfloat16])
def test_asking_whether_to_skip_changes_no_bit(device: torch.device, gradient: torch.dtype) -> None:
    factors = Factors(momentum=0.9, decay=-1e-3, rate=-0.1)
    one, other = _lists(gradient, device), _lists(gradient, device)
    update_together(*one, factors)
    update_together(*other, factors, torch.zeros((), device=device))
    assert all(map(torch.equal, one[0] + one[1], other[0] + other[1]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", [torch.float32, torch.bfloat16])
def test_what_is_skipped_keeps_its_bits_whatever_its_gradient(
    device: torch.device, gradient: torch.dtype
) -> None:
    factors = Factors(momentum=0.9, decay=-1e-3, rate=-0.1)
    weights, velocities, gradients = _lists(gradient, device)
    for g in gradients:
        g.fill_(torch.nan)
    update_together(weights, velocities, gradients, factors, torch.ones((), device=device))
    before = _lists(device=device)
    assert all(map(torch.equal, weights + velocities, before[0] + before[1]))


def test_a_weight_that_was_updated_with_all_others_is_seen_to_have_changed() -> None:
    weights, velocities, gradients = _lists()
    versions = [w._version for w in weights]
    update_together(weights, velocities, gradients, Factors(momentum=0.9, decay=-1e-3, rate=-0.1))
    assert all(w._version > version for w, version in zip(weights, versions, strict=True))


def test_the_rule_skips_every_parameter_and_its_velocity() -> None:
    parameters = _parameters(torch.float32)
    rule = UpdateRule(parameters, OptimSpec(), "source2012")
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def step(skip: float) -> None:
        for parameter in parameters.values():
            parameter.grad = torch.full((4, 3), torch.nan if skip else 1.0)
        rule.step(learning_rate=0.01, num_samples=3, skip=torch.tensor(skip))

    step(1.0)
    assert all(torch.equal(parameters[name], before[name]) for name in NAMES)
    assert not any(rule.velocity[name].any() for name in NAMES)
    step(0.0)
    assert not any(torch.equal(parameters[name], before[name]) for name in NAMES)


@needs_gpu
def test_on_a_gpu_working_copies_are_written_with_the_update() -> None:
    parameters = {
        name: torch.nn.Parameter(parameter.detach().to(GPU))
        for name, parameter in _parameters(torch.float32).items()
    }
    copies = {name: WorkingCopy(parameter) for name, parameter in parameters.items()}
    # One of them was used.
    copies[NAMES[0]].of_dtype(torch.bfloat16)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    before = parameters[NAMES[0]].detach().clone()
    UpdateRule(parameters, OptimSpec(), "paper", copies).step(learning_rate=0.5, num_samples=1)
    assert copies[NAMES[1]].place is None
    place = copies[NAMES[0]].place
    assert place is not None
    assert torch.equal(place, parameters[NAMES[0]].detach().bfloat16())
    assert not torch.equal(place, before.bfloat16())
    # And is not written anew.
    place.fill_(7)
    assert float(copies[NAMES[0]].of_dtype(torch.bfloat16)[0, 0].detach()) == 7


def test_rates() -> None:
    assert rates_of("fc8.bias", "paper") == rates_of("fc8.weight", "source2012") == Rates()
    assert rates_of("fc8.bias", "source2012") == Rates(learning_rate=2.0, weight_decay=0.0)
