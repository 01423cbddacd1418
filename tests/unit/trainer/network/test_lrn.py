import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tests.gpu import GPU, needs_gpu
from trainer.network.lrn import (
    ALPHA,
    BETA,
    SIZE,
    K,
    Kernels,
    Lrn,
    banded_kernels,
    compiled_kernels,
    lrn_reference,
    within_map_norm,
)

# The paper's, and the 2012 source's, which divides by the window; a large one leaves no term small.
ALPHAS = (ALPHA, ALPHA / SIZE, 0.5)
# Compilation takes seconds.
NAMES = ("banded", pytest.param("compiled", marks=pytest.mark.slow))


def _kernels(name: str, alpha: float) -> Kernels:
    if name == "banded":
        return banded_kernels(alpha)
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    return compiled_kernels(alpha)


def _maps(channels: int, *, seed: int = 0) -> Tensor:
    """Return float64 (3, channels, 4, 5) as large as conv1 gives them on 0-255 pixels."""
    generator = torch.Generator().manual_seed(seed)
    return 100 * torch.randn(3, channels, 4, 5, dtype=torch.float64, generator=generator)


def _layer(kernels: Kernels) -> Lrn:
    layer = Lrn(alpha=ALPHA, device=torch.device("cpu"))
    layer.kernels = kernels
    return layer


def _value_and_gradient(maps: Tensor, gradient: Tensor, layer: Lrn) -> tuple[Tensor, Tensor]:
    leaf = maps.clone().requires_grad_()
    value = layer(leaf)
    value.backward(gradient)
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def _exact(maps: Tensor, gradient: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    leaf = maps.clone().requires_grad_()
    value = lrn_reference(leaf, alpha)
    value.backward(gradient)
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("alpha", ALPHAS)
def test_reference_is_torchs_with_alpha_times_n(alpha: float) -> None:
    maps = _maps(7)
    # torch divides α by the window, the paper does not.
    expected = F.local_response_norm(maps, SIZE, alpha=alpha * SIZE, beta=BETA, k=K)
    torch.testing.assert_close(lrn_reference(maps, alpha), expected)


def test_reference_by_hand() -> None:
    # One pixel of four channels: the window of channel 0 is 0..2, of channel 3 is 1..3.
    maps = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 4, 1, 1)
    normalised = lrn_reference(maps, 0.5).flatten()
    expected = [
        1 / (2 + 0.5 * (1 + 4 + 9)) ** 0.75,
        2 / (2 + 0.5 * (1 + 4 + 9 + 16)) ** 0.75,
        3 / (2 + 0.5 * (1 + 4 + 9 + 16)) ** 0.75,
        4 / (2 + 0.5 * (4 + 9 + 16)) ** 0.75,
    ]
    torch.testing.assert_close(normalised, torch.tensor(expected, dtype=torch.float64))


def test_gradient_of_the_reference() -> None:
    maps = (_maps(6)[:1, :, :2, :2] / 100).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lrn_reference(x, 0.5), maps)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", NAMES)
# Fewer channels than a window, and more.
@pytest.mark.parametrize("channels", [2, 12])
def test_kernels_are_the_reference_in_value_and_gradient(
    name: str, alpha: float, channels: int
) -> None:
    maps, upstream = _maps(channels), _maps(channels, seed=1)
    expected, expected_gradient = _exact(maps, upstream, alpha)

    value, gradient = _value_and_gradient(
        maps.float(), upstream.float(), _layer(_kernels(name, alpha))
    )
    torch.testing.assert_close(value.double(), expected, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_computed_in_fp32_and_rounded_once(name: str) -> None:
    maps, upstream = _maps(12).bfloat16(), _maps(12, seed=1).bfloat16()
    layer = _layer(_kernels(name, ALPHA))
    value, gradient = _value_and_gradient(maps, upstream, layer)
    exact, exact_gradient = _value_and_gradient(maps.float(), upstream.float(), layer)
    assert value.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value, exact.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(gradient, exact_gradient.bfloat16(), rtol=0, atol=0)


@needs_gpu
@pytest.mark.parametrize("name", ["banded", "compiled"])
@pytest.mark.parametrize("alpha", ALPHAS)
# The paper's layers, and one narrower than a window.
@pytest.mark.parametrize("channels", [2, 48, 128])
def test_on_a_gpu_kernels_are_the_reference(name: str, alpha: float, channels: int) -> None:
    maps, upstream = _maps(channels), _maps(channels, seed=1)
    expected, expected_gradient = _exact(maps, upstream, alpha)
    layer = _layer(compiled_kernels(alpha) if name == "compiled" else banded_kernels(alpha))
    value, gradient = _value_and_gradient(maps.float().to(GPU), upstream.float().to(GPU), layer)
    torch.testing.assert_close(value.cpu().double(), expected, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(gradient.cpu().double(), expected_gradient, rtol=1e-5, atol=2e-5)


@needs_gpu
def test_on_a_gpu_bf16_is_computed_in_fp32_and_rounded_once() -> None:
    maps, upstream = _maps(48).bfloat16().to(GPU), _maps(48, seed=1).bfloat16().to(GPU)
    layer = _layer(compiled_kernels(ALPHA))
    value, gradient = _value_and_gradient(maps, upstream, layer)
    exact, exact_gradient = _value_and_gradient(maps.float(), upstream.float(), layer)
    torch.testing.assert_close(value, exact.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(gradient, exact_gradient.bfloat16(), rtol=0, atol=0)


def test_layout_of_the_maps_does_not_matter() -> None:
    maps, layer = _maps(12).float(), _layer(banded_kernels(ALPHA))
    channels_last = maps.to(memory_format=torch.channels_last)
    assert torch.equal(layer(maps), layer(channels_last))


def test_a_window_never_leaves_its_image_or_pixel() -> None:
    maps, layer = _maps(12).float(), _layer(banded_kernels(0.5))
    alone = layer(maps[1:2, :, 2:3, 3:4])
    torch.testing.assert_close(layer(maps)[1:2, :, 2:3, 3:4], alone)


def test_within_map_norm_by_hand() -> None:
    maps = _maps(2)[:1]
    normalised = within_map_norm(maps)
    _, channels, height, width = maps.shape
    for c in range(channels):
        for row in range(height):
            for column in range(width):
                window = maps[0, c, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
                scale = 1 + 0.001 / 25 * float(window.square().sum())
                expected = float(maps[0, c, row, column]) / scale**0.75
                assert float(normalised[0, c, row, column]) == pytest.approx(expected)


def test_gradient_within_a_map() -> None:
    maps = (_maps(2)[:1] / 100).requires_grad_()
    assert torch.autograd.gradcheck(within_map_norm, maps)


@pytest.mark.parametrize("triton", [True, False])
def test_only_a_gpu_with_triton_compiles(monkeypatch: pytest.MonkeyPatch, triton: bool) -> None:
    monkeypatch.setattr("trainer.network.lrn.has_triton", lambda: triton)
    on_gpu = Lrn(alpha=ALPHA, device=torch.device("cuda", 1)).kernels
    assert on_gpu is (compiled_kernels(ALPHA) if triton else banded_kernels(ALPHA))
    assert Lrn(alpha=ALPHA, device=torch.device("cpu")).kernels is banded_kernels(ALPHA)


VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Says where compiled kernels would be kept; nothing is compiled."""
    for name in (VARIABLE, "XDG_CACHE_HOME"):
        # Empty means unset, and is put back afterwards.
        monkeypatch.setenv(name, "")

    def folder() -> Path:
        compiled_kernels.cache_clear()
        compiled_kernels(ALPHA)
        return Path(os.environ[VARIABLE])

    yield folder
    compiled_kernels.cache_clear()


def test_kernels_are_kept_in_the_users_cache(
    cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache() == tmp_path / ".cache/alexnet-training-service/inductor"


def test_kernels_are_kept_where_the_user_says(
    cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "alexnet-training-service/inductor"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    assert cache() == tmp_path / "own"


def test_a_relative_cache_is_ignored(
    cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache() == tmp_path / ".cache/alexnet-training-service/inductor"


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", ["none", "unusable"])
def test_without_a_home_kernels_go_with_the_process(
    cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "file").touch()
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(
        atexit, "register", lambda do, *what, **how: at_exit.append(lambda: do(*what, **how))
    )
    if home == "none":
        monkeypatch.setattr(Path, "home", _no_home)
    else:
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    folder = cache()
    assert folder.parent == tmp_path / "temporary"
    assert folder.stat().st_mode & 0o077 == 0
    (removal,) = at_exit
    removal()
    assert not folder.exists()
