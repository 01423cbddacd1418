from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.decode import CorruptImageError, Decoder
from data_shards.images.encode import encode_jpeg

random = np.random.default_rng(0)
IMAGE = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_raw_is_exact():
    assert np.array_equal(Decoder("raw", 16).decode(memoryview(IMAGE.tobytes())), IMAGE)


def test_jpeg_is_near():
    smooth = np.zeros((16, 16, 3), dtype=np.uint8)
    smooth[:] = np.arange(16)[:, None, None] * 10 + np.array([0, 40, 80])
    decoded = Decoder("jpeg", 16).decode(memoryview(encode_jpeg(smooth, 95)))
    assert np.abs(decoded.astype(int) - smooth).max() < 8


JPEG = encode_jpeg(IMAGE, 90)


@pytest.mark.parametrize(
    ("encoding", "data", "reason"),
    [
        ("raw", IMAGE.tobytes()[:-1], "has 767 bytes, not 768"),
        ("jpeg", b"", "JPEG"),
        ("jpeg", b"not an image at all", "JPEG"),
        ("jpeg", JPEG[: len(JPEG) - 20], "end of JPEG"),
        ("jpeg", encode_jpeg(IMAGE[:8, :8], 90), "is 8×8, not 16 square"),
        ("jpeg", encode_jpeg(np.zeros((4096, 4096, 3), np.uint8), 50), "too small"),
        ("jpeg", encode_jpeg(np.zeros((8, 32, 3), np.uint8), 50), "is 32×8, not 16 square"),
    ],
)
def test_what_is_not_the_image_promised_is_corrupt(encoding, data, reason):
    with pytest.raises(CorruptImageError, match=reason):
        Decoder(encoding, 16).decode(memoryview(data))


@given(st.integers(0, len(JPEG) - 1), st.integers(0, 255))
def test_a_changed_byte_never_breaks_the_decoder(place, value):
    data = bytearray(JPEG)
    data[place] = value
    with suppress(CorruptImageError):
        assert Decoder("jpeg", 16).decode(memoryview(data)).shape == (16, 16, 3)


@given(st.sampled_from(["raw", "jpeg"]), st.integers(1, 16), st.data(), st.booleans())
def test_crop_is_the_slice_reflected_or_not(encoding, edge, data, mirror):
    row, column = (data.draw(st.integers(0, 16 - edge)) for _ in range(2))
    decoder = Decoder(encoding, 16)
    stored = memoryview(JPEG if encoding == "jpeg" else IMAGE.tobytes())
    whole = decoder.decode(stored).copy()
    out = np.empty((edge, edge, 3), dtype=np.uint8)
    decoder.decode_crop(stored, out, row, column, mirror=mirror)
    expected = whole[row : row + edge, column : column + edge]
    assert np.array_equal(out, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_bgr_is_rgb_the_other_way_round(encoding):
    decoder = Decoder(encoding, 16)
    stored = memoryview(JPEG if encoding == "jpeg" else IMAGE.tobytes())
    rgb = decoder.decode(stored).copy()
    assert np.array_equal(decoder.decode(stored, bgr=True), rgb[..., ::-1])
