import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.pictures.kernels import ENLARGEMENT, GAP, columns_of, draw_tower, scaled


@pytest.mark.parametrize(
    ("num_kernels", "columns"), [(48, 8), (12, 4), (24, 6), (6, 3), (96, 12), (10, 5), (1, 1)]
)
def test_towers_of_known_widths(num_kernels: int, columns: int) -> None:
    assert columns_of(num_kernels) == columns


@given(num_kernels=st.integers(1, 400))
def test_rows_are_full_but_for_the_last_and_the_grid_is_no_ribbon(num_kernels: int) -> None:
    columns = columns_of(num_kernels)
    rows = -(-num_kernels // columns)
    assert 0 <= rows * columns - num_kernels < columns
    assert columns <= num_kernels
    assert columns <= 4 * rows
    assert rows <= columns


def _kernels(num_kernels: int, *, edge: int = 11, seed: int = 0) -> np.ndarray:
    shape = (num_kernels, 3, edge, edge)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(
    seed=st.integers(0, 2**32),
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-10, 10),
)
def test_each_kernel_has_its_own_range(seed: int, scale: float, shift: float) -> None:
    kernels = _kernels(3, edge=5, seed=seed)
    pixels = scaled(kernels)
    np.testing.assert_array_equal(pixels.min(axis=(1, 2, 3)), 0)
    np.testing.assert_array_equal(pixels.max(axis=(1, 2, 3)), 255)
    order = kernels.transpose(0, 2, 3, 1).reshape(3, -1).argsort(axis=1)
    ranked = np.take_along_axis(pixels.reshape(3, -1), order, axis=1)
    assert (np.diff(ranked.astype(int), axis=1) >= 0).all()
    # The range of another makes no difference, and its own none either.
    changed = kernels.copy()
    changed[1] = scale * (changed[1] + shift)
    differences = np.abs(scaled(changed).astype(int) - pixels)
    assert differences[[0, 2]].max() == 0
    assert differences[1].max() <= 1


def test_a_kernel_without_a_range_is_grey() -> None:
    kernels = _kernels(3)
    kernels[1] = 0.25
    kernels[2, 0, 0, 0] = np.nan
    pixels = scaled(kernels)
    assert set(pixels[1:].flat) == {128}
    assert len(set(pixels[0].flat)) > 100


@pytest.mark.parametrize("num_kernels", [48, 7])
def test_a_picture_is_whole_squares_with_nothing_between(num_kernels: int) -> None:
    kernels = _kernels(num_kernels)
    drawn = np.asarray(draw_tower(kernels))
    columns = columns_of(num_kernels)
    size = 11 * ENLARGEMENT
    assert drawn.shape[1] == columns * (size + GAP) - GAP
    left = drawn.copy()
    for number, expected in enumerate(scaled(kernels)):
        top, start = ((size + GAP) * place for place in divmod(number, columns))
        place = np.s_[top : top + size, start : start + size]
        one = drawn[place]
        np.testing.assert_array_equal(one[::ENLARGEMENT, ::ENLARGEMENT, :3], expected)
        # (size, size) -> (k, e, k, e, 4): all pixels of a square are alike
        squares = one.reshape(11, ENLARGEMENT, 11, ENLARGEMENT, 4)
        assert (squares == squares[:, :1, :, :1]).all()
        assert (one[..., 3] == 255).all()
        left[place] = 0
    assert not left.any()
