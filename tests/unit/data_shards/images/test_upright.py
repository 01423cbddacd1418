from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_shards.images.upright import upright
from tests.unit.data_shards.images.pictures import ORIENTATION, file_of


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_as_pillow_does(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    with Image.open(BytesIO(file_of(pixels, "PNG", exif=exif))) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    out = upright(pixels, orientation)
    assert np.array_equal(out, expected)
    assert out.flags.c_contiguous
