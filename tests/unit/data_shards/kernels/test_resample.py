from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards.kernels import resample as kernel
from data_shards.kernels.resample import resample

LANCZOS = Image.Resampling.LANCZOS


def noise(seed: int, height: int, width: int) -> np.ndarray:
    """Of all values, and half of it black and white: what passes 0 and 255 must be cut there."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = (pixels[: height // 2] > 127) * 255
    return pixels


def parts(length: int) -> st.SearchStrategy[tuple[float, float]]:
    """Start and end of a part of an axis: whole pixels, sixteenths of them, or any."""
    places = st.one_of(
        st.integers(0, length).map(float),
        st.integers(0, 16 * length).map(lambda sixteenths: sixteenths / 16),
        st.floats(0, length, width=32),
    )
    pairs = st.tuples(places, places).map(lambda pair: (min(pair), max(pair)))
    # Of narrower ones nothing is made, by anyone.
    return pairs.filter(lambda pair: pair[1] - pair[0] > 0.01)


@settings(max_examples=300)
@given(st.data(), st.integers(1, 70), st.integers(1, 70), st.integers(1, 50))
def test_the_kernel_gives_the_bits_of_pillow(data, height, width, size):
    (left, right), (top, bottom) = data.draw(parts(width)), data.draw(parts(height))
    pixels = noise(data.draw(st.integers(0, 99)), height, width)
    box = (left, top, right, bottom)
    assert np.array_equal(resample(pixels, box, size), resample(Image.fromarray(pixels), box, size))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(375, 500, 256), (500, 333, 256), (2000, 1300, 256), (90, 70, 256)],
)
def test_the_sizes_of_photographs_give_the_bits_of_pillow(height, width, size):
    pixels, edge = noise(3, height, width), min(height, width)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    assert np.array_equal(resample(pixels, box, size), resample(Image.fromarray(pixels), box, size))


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 40))
def test_in_one_direction_it_is_what_resize_does(seed, length, size):
    pixels = noise(seed, size, length)
    wide = Image.fromarray(pixels).resize((size, size), LANCZOS)
    assert np.array_equal(resample(pixels, (0, 0, length, size), size), np.asarray(wide))
    high = np.ascontiguousarray(pixels.swapaxes(0, 1))
    assert np.array_equal(
        resample(high, (0, 0, size, length), size),
        np.asarray(Image.fromarray(high).resize((size, size), LANCZOS)),
    )


def test_without_a_compiler_the_bits_are_the_same():
    pixels, box = noise(7, 40, 60), (10.5, 0.25, 49.5, 39.25)
    with mock.patch.object(kernel, "_library", return_value=None):
        plain = resample(pixels, box, 17)
    assert np.array_equal(plain, resample(pixels, box, 17))


def test_what_is_no_contiguous_array_is_read_as_it_lies():
    pixels = noise(5, 30, 40)
    turned, box = pixels[::-1, ::2], (0, 5, 20, 25)
    assert np.array_equal(resample(turned, box, 9), resample(np.ascontiguousarray(turned), box, 9))
