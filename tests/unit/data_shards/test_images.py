import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.images import SkippedImageError, SkipReason, encode_jpeg, load_square, square


def ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards, both 0 to 255 over the picture."""
    x, y = (np.arange(width) + 0.5) / width * 255, (np.arange(height) + 0.5) / height * 255
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = x, y[:, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


@given(st.integers(20, 90), st.integers(20, 90), st.integers(8, 40))
def test_shorter_side_is_scaled_and_the_centre_taken(width, height, size):
    out = square(ramp(width, height), size).astype(float)
    assert out.shape == (size, size, 3)
    edge = min(width, height)
    centres = (np.arange(size) + 0.5) / size * edge
    expected_red = ((width - edge) / 2 + centres) / width * 255
    expected_green = ((height - edge) / 2 + centres) / height * 255
    # The filter bends the ramp at the edges only.
    inside = slice(size // 4, size - size // 4)
    assert np.abs(out[..., 0] - expected_red)[:, inside].max() < 3
    assert np.abs(out[..., 1] - expected_green[:, None])[inside].max() < 3


def test_scaling_down_averages():
    # A one-pixel checkerboard becomes grey, not an alias of itself.
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    out = square(Image.fromarray(board), 32)
    assert np.abs(out[4:-4, 4:-4].astype(int) - 128).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1", "LA", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    out = square(Image.new(mode, (20, 30)), 8)
    assert out.shape == (8, 8, 3)
    assert out.dtype == np.uint8


def test_a_phone_held_upright_is_turned(tmp_path):
    path = tmp_path / "turned.jpg"
    picture = ramp(64, 64)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    picture.rotate(90).save(path, exif=exif, quality=95)
    assert np.abs(load_square(path, 32).astype(int) - square(picture, 32)).max() < 12


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IDAT"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", SkipReason.UNREADABLE),
        (b"\xff\xd8 this was never a JPEG", SkipReason.UNREADABLE),
        (png_claiming(100, 100), SkipReason.UNREADABLE),
        (png_claiming(10_000, 9_500), SkipReason.TOO_MANY_PIXELS),
        (png_claiming(60_000, 60_000), SkipReason.TOO_MANY_PIXELS),
    ],
)
def test_what_is_no_image_is_skipped_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(SkippedImageError) as caught:
        load_square(path, 32)
    assert caught.value.reason is reason


def test_an_image_cut_short_is_skipped(tmp_path):
    path = tmp_path / "a.jpg"
    ramp(200, 200).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(SkippedImageError, match="unreadable"):
        load_square(path, 32)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(SkippedImageError, match="unreadable"):
        load_square(tmp_path / "a.png", 32)


def test_quality_decides_size():
    picture = square(ramp(64, 64).effect_spread(20), 64)
    assert len(encode_jpeg(picture, 95)) > 1.5 * len(encode_jpeg(picture, 50))
