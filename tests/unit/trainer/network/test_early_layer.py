import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.compiler import needs_compiler
from trainer.contract.layers import layers
from trainer.contract.model_spec import ModelSpec
from trainer.network.early_layer import EarlyLayer, fused, pooled_size
from trainer.network.lrn import ALPHA, SIZE, lrn_reference

pytestmark = needs_compiler

CPU = torch.device("cpu")
HOWS = list(itertools.product((True, False), repeat=2))


def _maps(n: int, c: int, h: int, w: int, *, seed: int = 0) -> Tensor:
    """As large as conv1 gives them on 0-255 pixels."""
    generator = torch.Generator().manual_seed(seed)
    return 100 * torch.randn(n, c, h, w, generator=generator)


def _literal(x: Tensor, *, alpha: float, rectifies: bool, pools: bool) -> Tensor:
    x = lrn_reference(torch.relu(x) if rectifies else x, alpha)
    return F.max_pool2d(x, 3, 2, ceil_mode=True) if pools else x


def _value_and_gradient(
    f: Callable[..., Tensor], maps: Tensor, **how: Any
) -> tuple[Tensor, Tensor]:
    leaf = maps.clone().requires_grad_()
    value = f(leaf, **how)
    upstream = _maps(*value.shape, seed=1).to(value.dtype)
    value.backward(upstream)
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@given(
    shape=st.tuples(
        st.integers(1, 3),
        # Fewer channels than a window; blocks of 16 and of 4 and what is left of them.
        st.sampled_from([1, 2, 4, 7, 12, 16, 21, 48]),
        st.integers(1, 9),
        st.integers(1, 9),
    ),
    alpha=st.sampled_from([ALPHA, ALPHA / SIZE, 0.5]),
    how=st.sampled_from(HOWS),
)
def test_the_kernel_is_the_formula_in_value_and_gradient(
    shape: tuple[int, int, int, int], alpha: float, how: tuple[bool, bool]
) -> None:
    maps = _maps(*shape)
    options = {"alpha": alpha, "rectifies": how[0], "pools": how[1] and min(shape[2:]) > 1}
    expected, gradient = _value_and_gradient(_literal, maps.double(), **options)
    value, computed = _value_and_gradient(fused, maps, **options)
    torch.testing.assert_close(value.double(), expected, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(computed.double(), gradient, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("how", HOWS)
def test_bf16_is_computed_in_fp32_and_rounded_once(how: tuple[bool, bool]) -> None:
    maps = _maps(2, 12, 7, 6).bfloat16()
    options: dict[str, Any] = {"alpha": ALPHA, "rectifies": how[0], "pools": how[1]}
    value, gradient = _value_and_gradient(fused, maps, **options)
    leaf = maps.float().requires_grad_()
    exact = fused(leaf, **options)
    exact.backward(_maps(*exact.shape, seed=1).bfloat16().float())
    assert leaf.grad is not None
    assert value.dtype == gradient.dtype == torch.bfloat16
    assert torch.equal(value, exact.bfloat16())
    assert torch.equal(gradient, leaf.grad.bfloat16())


def test_of_equals_the_first_takes_the_gradient_as_in_torch() -> None:
    maps = torch.ones(1, 5, 5, 5)
    options: dict[str, Any] = {"alpha": ALPHA, "rectifies": True, "pools": True}
    _, expected = _value_and_gradient(_literal, maps.double(), **options)
    _, gradient = _value_and_gradient(fused, maps, **options)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rectifies", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_nan_is_never_hidden(dtype: torch.dtype, rectifies: bool) -> None:
    maps = _maps(1, 8, 5, 5).to(dtype)
    maps[0, 3, 2, 2] = torch.nan
    # The NaN's window of channels, in every window of pixels that holds it.
    pooled = fused(maps, alpha=ALPHA, rectifies=rectifies, pools=True)
    assert pooled[0, 1:6].isnan().all()
    assert not pooled[0, 6:].isnan().any()


def test_bits_depend_neither_on_threads_nor_on_the_batch() -> None:
    maps = _maps(5, 12, 15, 15)
    options: dict[str, Any] = {"alpha": ALPHA, "rectifies": True, "pools": True}
    value, gradient = _value_and_gradient(fused, maps, **options)
    torch.set_num_threads(2)
    again, gradient_again = _value_and_gradient(fused, maps, **options)
    assert torch.equal(value, again)
    assert torch.equal(gradient, gradient_again)
    torch.testing.assert_close(fused(maps[3:4], **options), value[3:4], rtol=0, atol=0)


@given(size=st.integers(1, 600))
def test_pooled_size_is_torchs(size: int) -> None:
    row = torch.empty(1, 1, 1, size, device="meta")
    expected = F.max_pool2d(row, (1, 3), (1, 2), ceil_mode=True).shape[-1] if size >= 2 else 1
    assert pooled_size(size) == expected


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recipe": "source2012"},
        {"activation": "tanh"},
        {"recipe": "source2012", "activation": "tanh"},
        {"overlapping_pool": False},
        {"lrn": False},
        {"removed_layer": "conv2"},
        {"removed_layer": "conv2", "recipe": "source2012"},
    ],
    ids=str,
)
def test_fused_and_one_by_one_agree(
    small_model: Callable[..., ModelSpec], changes: dict[str, Any], number: int
) -> None:
    model = small_model(**changes)
    fast, slow = (EarlyLayer(model, layers(model)[number], CPU) for _ in range(2))
    assert fast.kernel == ("fused" if model.lrn else "none")
    slow.kernel = "banded" if model.lrn else "none"
    # Small enough that tanh leaves no equals, of which rounding would choose.
    maps = _maps(3, 12, 15, 15) / 100
    # An activation may work in place, which a leaf does not allow.
    value, gradient = _value_and_gradient(lambda x: fast(x.clone()), maps)
    expected, expected_gradient = _value_and_gradient(lambda x: slow(x.clone()), maps)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
