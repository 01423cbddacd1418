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
    ],
)
def test_a_plain_jpeg_stays_as_it_came(stored):
    assert original_of(stored, 92) == stored
    assert original_of(memoryview(stored), 92) == stored


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
    out = original_of(stored, 97)
    # Colour at half resolution.
    assert np.abs(read(out).astype(int) - PICTURE).max() <= 12
    assert np.abs(square_of(out, 16).astype(int) - square_of(PICTURE, 16)).max() <= 12


def test_grey_pixels_get_colours():
    grey = PICTURE[..., 1]
    assert np.abs(read(original_of(grey, 97)).astype(int) - grey[..., None]).max() <= 3


@given(st.integers(1, 1000))
def test_a_jpeg_cut_short_is_not_stored(cut):
    stored = file_of(ramp(64, 64))
    assert len(stored) > 1200
    with pytest.raises(SkippedImageError) as caught:
        original_of(stored[:cut], 92)
    assert caught.value.reason is SkipReason.UNREADABLE


def test_what_is_longer_than_a_jpeg_can_be_is_skipped():
    longest = np.zeros((1, 65_500, 3), np.uint8)
    assert read(original_of(longest, 92)).shape == longest.shape
    with pytest.raises(SkippedImageError) as caught:
        original_of(np.zeros((1, 65_501, 3), np.uint8), 92)
    assert caught.value.reason is SkipReason.TOO_MANY_PIXELS
