from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.arrays import Pixels
from data_shards.images.original import original_of
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square_of
from tests.unit.data_shards.images.pictures import (
    cmyk_jpeg,
    file_of,
    lying,
    ramp,
    with_bytes_between,
    ycck_jpeg,
)


def read(stored: bytes) -> Pixels:
    with Image.open(BytesIO(stored)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert not image.getexif()
        return np.asarray(image)


@pytest.mark.parametrize(
    "stored",
    [
        file_of(ramp(40, 30)),
        file_of(ramp(40, 30)[..., 0]),
        file_of(ramp(40, 30), progressive=True, quality=30),
        lying(ramp(40, 30), 1),
        file_of(ramp(400, 300)),
    ],
)
def test_a_plain_jpeg_stays_as_it_came(stored):
    for data in (stored, memoryview(stored)):
        original = original_of(data, 16, 92)
        assert original.file == stored
        assert np.array_equal(original.square, square_of(stored, 16))


PICTURE = ramp(40, 30)


@pytest.mark.parametrize(
    "stored",
    [
        PICTURE,
        file_of(PICTURE, "PNG"),
        file_of(PICTURE, "TIFF"),
        cmyk_jpeg(PICTURE),
        ycck_jpeg(PICTURE),
        with_bytes_between(file_of(PICTURE)),
        *(lying(PICTURE, orientation) for orientation in range(2, 9)),
        *(lying(PICTURE, orientation, "TIFF") for orientation in range(2, 9)),
    ],
)
def test_all_else_becomes_an_upright_jpeg_of_its_size(stored):
    original = original_of(stored, 16, 97)
    # Colour at half resolution.
    assert np.abs(read(original.file).astype(int) - PICTURE).max() <= 12
    assert np.array_equal(original.square, square_of(original.file, 16))


def test_grey_pixels_get_colours():
    grey = PICTURE[..., 1]
    assert np.abs(read(original_of(grey, 16, 97).file).astype(int) - grey[..., None]).max() <= 3


@given(st.integers(1, 1000))
def test_a_jpeg_cut_short_is_not_stored(cut):
    stored = file_of(ramp(64, 64))
    assert len(stored) > 1200
    with pytest.raises(SkippedImageError) as caught:
        original_of(stored[:cut], 16, 92)
    assert caught.value.reason is SkipReason.UNREADABLE


def test_what_is_longer_than_a_jpeg_can_be_is_skipped():
    longest = np.zeros((1, 65_500, 3), np.uint8)
    assert read(original_of(longest, 1, 92).file).shape == longest.shape
    with pytest.raises(SkippedImageError) as caught:
        original_of(np.zeros((1, 65_501, 3), np.uint8), 1, 92)
    assert caught.value.reason is SkipReason.TOO_MANY_PIXELS
