import copy as copying
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.compiler import needs_compiler
from trainer.contract.optim_spec import OptimSpec
from trainer.learning.update_rule import UpdateRule
from trainer.network.working_copy import WorkingCopy


def _parameter() -> nn.Parameter:
    return nn.Parameter(torch.randn(40, 31, generator=torch.Generator().manual_seed(0)))


def test_its_own_dtype_is_the_parameter_itself() -> None:
    parameter = _parameter()
    assert WorkingCopy(parameter).of_dtype(torch.float32) is parameter


def test_the_copy_follows_every_change_of_the_parameter() -> None:
    parameter = _parameter()
    copy = WorkingCopy(parameter)
    assert torch.equal(copy.of_dtype(torch.bfloat16), parameter.bfloat16())
    with torch.no_grad():
        parameter.mul_(3)
    assert torch.equal(copy.of_dtype(torch.bfloat16), parameter.bfloat16())
    with torch.no_grad():
        parameter[0, 0] = 7
    assert torch.equal(copy.of_dtype(torch.bfloat16), parameter.bfloat16())
    assert torch.equal(copy.of_dtype(torch.float16), parameter.half())


def test_an_unchanged_parameter_is_not_copied_again() -> None:
    copy = WorkingCopy(_parameter())
    first = copy.of_dtype(torch.bfloat16)
    assert copy.of_dtype(torch.bfloat16).data_ptr() == first.data_ptr()
    assert copy.place is not None
    copy.place.zero_()
    assert not copy.of_dtype(torch.bfloat16).any()


@pytest.mark.parametrize(
    "duplicate", [copying.deepcopy, lambda copy: pickle.loads(pickle.dumps(copy))]
)
def test_a_duplicate_follows_its_own_parameter(
    duplicate: Callable[[WorkingCopy], WorkingCopy],
) -> None:
    parameter = _parameter()
    with torch.no_grad():
        parameter.fill_(1)
    copy = WorkingCopy(parameter)
    copy.of_dtype(torch.bfloat16)
    other = duplicate(copy)
    its_parameter = other.of_dtype(torch.float32)
    assert its_parameter is not parameter
    with torch.no_grad():
        # As many changes as the original had seen when it was used.
        its_parameter.fill_(5)
    assert torch.equal(other.of_dtype(torch.bfloat16), its_parameter.bfloat16())
    assert torch.equal(copy.of_dtype(torch.bfloat16), parameter.bfloat16())


def test_a_first_use_in_inference_mode_keeps_no_gradient_back() -> None:
    parameter = _parameter()
    copy = WorkingCopy(parameter)
    with torch.inference_mode():
        copy.of_dtype(torch.bfloat16)
    copy.of_dtype(torch.bfloat16).square().sum().backward()
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, 2 * parameter.detach(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("grad_dtype", [torch.float32, None])
def test_gradients_are_those_of_a_conversion(grad_dtype: torch.dtype | None) -> None:
    parameter, plain = _parameter(), _parameter()
    parameter.grad_dtype = grad_dtype
    upstream = torch.randn(40, 31).bfloat16()
    (WorkingCopy(parameter).of_dtype(torch.bfloat16) * upstream).sum().backward()
    (plain.to(torch.bfloat16) * upstream).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.dtype == (grad_dtype or torch.bfloat16)
    assert plain.grad is not None
    assert torch.equal(parameter.grad.float(), plain.grad)


@pytest.mark.parametrize("grad_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [pytest.param(True, marks=needs_compiler), False])
def test_an_update_leaves_the_copy_right(
    monkeypatch: pytest.MonkeyPatch, grad_dtype: torch.dtype, kernel: bool
) -> None:
    if not kernel:
        monkeypatch.setattr("trainer.learning.update_rule.load", lambda *_: None)
    parameter = _parameter()
    parameter.grad_dtype = None
    copy = WorkingCopy(parameter)
    before = copy.of_dtype(torch.bfloat16).detach().clone()
    rule = UpdateRule({"w": parameter}, OptimSpec(), "paper", {"w": copy})
    parameter.grad = torch.randn(40, 31).to(grad_dtype)
    rule.step(learning_rate=0.1, num_samples=1)
    if kernel:
        assert copy.place is not None
        assert torch.equal(copy.place, parameter.bfloat16())
    after = copy.of_dtype(torch.bfloat16)
    assert torch.equal(after, parameter.bfloat16())
    assert not torch.equal(after, before)
