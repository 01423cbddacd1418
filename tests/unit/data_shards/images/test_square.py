import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from data_shards.arrays import Pixels
from data_shards.images.encode import encode_jpeg
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square, square_of
from data_shards.sources.image_folder import IMAGE_SUFFIXES


def load_square(path: Path, size: int) -> Pixels:
    return square_of(path.read_bytes(), size)


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


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_promised_kind_of_file_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = ramp(40, 40)
    picture.convert("L" if suffix == ".pgm" else "RGB").save(path)
    wanted = square(picture.convert("L") if suffix == ".pgm" else picture, 32).astype(int)
    # GIF has 256 colours.
    assert np.abs(load_square(path, 32) - wanted).mean() < 12


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
showpage
%%EOF
"""


def test_no_file_has_an_outside_program_started(tmp_path, monkeypatch):
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    path = tmp_path / "e.jpg"
    path.write_bytes(EPS)
    with Image.open(path) as image, pytest.raises(AssertionError, match="Ghostscript"):
        image.load()
    with pytest.raises(SkippedImageError, match="unreadable") as caught:
        load_square(path, 32)
    assert not isinstance(caught.value.__cause__, AssertionError)


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2"), ("a.pgm", "<u2")]
)
def test_sixteen_bits_of_grey_keep_their_shades(tmp_path, name, dtype):
    shades = np.asarray(ramp(64, 64).convert("RGB"))[..., 0]
    path = tmp_path / name
    if name == "a.pgm":
        path.write_bytes(b"P5\n64 64\n65535\n" + (shades.astype(">u2") * 257).tobytes())
    else:
        Image.fromarray((shades.astype(np.uint16) * 257).astype(dtype)).save(path)
    assert np.array_equal(load_square(path, 32), square(Image.fromarray(shades), 32))
    assert shades.min() < 5
    assert shades.max() > 250


def test_sixteen_bits_of_grey_are_turned_upright_too(tmp_path):
    shades = np.asarray(ramp(64, 64))[..., 1]
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.rot90(shades).astype(np.uint16) * 257
    Image.fromarray(lying).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_square(tmp_path / "a.png", 32), square(Image.fromarray(shades), 32))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_of_32_bits_is_skipped_as_nothing_tells_its_white(tmp_path, mode):
    Image.new(mode, (20, 20), 9).save(tmp_path / "a.tif")
    with pytest.raises(SkippedImageError) as caught:
        load_square(tmp_path / "a.tif", 8)
    assert caught.value.reason is SkipReason.UNKNOWN_WHITE


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


def test_quality_decides_size():
    picture = square(ramp(64, 64).effect_spread(20), 64)
    assert len(encode_jpeg(picture, 95)) > 1.5 * len(encode_jpeg(picture, 50))
