from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.kernels import statistics as kernel
from data_shards.kernels.statistics import add_pixels


def with_compiler(compiled: bool) -> Any:
    """With the kernel, if it can be built here, or as it is without a compiler."""
    library = kernel._library() if compiled else None
    return mock.patch.object(kernel, "_library", return_value=library)


@pytest.mark.parametrize("compiled", [True, False])
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_sums_are_exact(compiled, seed, height, width):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = random.integers(0, 2**40, pixels.shape)
    image = before.copy()
    with with_compiler(compiled):
        products = add_pixels(pixels, image)
    assert np.array_equal(image, before + pixels)
    rows = pixels.reshape(-1, 3).astype(np.int64)
    assert np.array_equal(products, rows.T @ rows)


@pytest.mark.parametrize("compiled", [True, False])
def test_white_does_not_overflow(compiled):
    white = np.full((512, 300, 3), 255, np.uint8)
    with with_compiler(compiled):
        products = add_pixels(white, np.zeros(white.shape, np.int64))
    assert (products == 512 * 300 * 255**2).all()


def test_what_is_no_contiguous_array_is_read_as_it_lies():
    pixels = np.random.default_rng(1).integers(0, 256, (12, 8, 3), dtype=np.uint8)[::-1, ::2]
    image = np.zeros(pixels.shape, np.int64)
    add_pixels(pixels, image)
    assert np.array_equal(image, pixels)
