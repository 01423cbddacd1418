from io import BytesIO

import numpy as np
from PIL import Image

from data_shards.images.encode import encode_jpeg
from tests.unit.data_shards.images.pictures import ramp


def test_pixels_come_back():
    picture = ramp(40, 30)
    with Image.open(BytesIO(encode_jpeg(picture, 95))) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - picture).max() < 12


def test_quality_decides_size():
    noise = np.random.default_rng(0).integers(90, 160, (64, 64, 3), dtype=np.uint8)
    assert len(encode_jpeg(noise, 95)) > 1.5 * len(encode_jpeg(noise, 50))
