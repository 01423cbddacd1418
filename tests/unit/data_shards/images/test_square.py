import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards.arrays import Pixels
from data_shards.images.skip import MAX_PIXELS, SkippedImageError, SkipReason
from data_shards.images.square import divisor_for, square_of
from data_shards.sources.image_paths import IMAGE_SUFFIXES
from tests.unit.data_shards.images.pictures import (
    ORIENTATION,
    cmyk_jpeg,
    file_of,
    lying,
    ramp,
    with_bytes_between,
    ycck_jpeg,
)


def difference(a: Pixels, b: Pixels) -> int:
    """Return the largest, in grey levels."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@given(st.integers(20, 90), st.integers(20, 90), st.integers(8, 40))
def test_shorter_side_is_scaled_and_the_centre_taken(width, height, size):
    out = square_of(ramp(width, height), size).astype(float)
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
    out = square_of(board, 32)
    assert np.abs(out[4:-4, 4:-4].astype(int) - 128).max() <= 2


def test_what_has_the_size_already_stays_as_it_is():
    picture = ramp(32, 32)
    assert np.array_equal(square_of(picture, 32), picture)
    assert np.array_equal(square_of(file_of(picture, "PNG"), 32), picture)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_promised_kind_of_file_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = ramp(40, 40) if suffix != ".pgm" else ramp(40, 40)[..., 0]
    Image.fromarray(picture).save(path)
    # GIF has 256 colours, and JPEG half as many pixels of colour.
    assert np.abs(square_of(path.read_bytes(), 32).astype(int) - square_of(picture, 32)).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_bytes_need_not_be_of_their_own(kind):
    data = file_of(ramp(30, 20), kind)
    assert np.array_equal(square_of(memoryview(data), 8), square_of(data, 8))


# What ILSVRC2012 and its like hold besides plain JPEGs of RGB.


@pytest.mark.parametrize("make", [cmyk_jpeg, ycck_jpeg])
def test_printing_colours_come_out_right(make):
    picture = ramp(48, 48)
    assert difference(square_of(make(picture), 48), picture) <= 6


def test_a_grey_jpeg_is_grey():
    shades = ramp(48, 48)[..., 0]
    out = square_of(file_of(shades), 48)
    assert difference(out, np.repeat(shades[..., None], 3, axis=2)) <= 3


def test_a_png_named_jpeg_is_read(tmp_path):
    path = tmp_path / "n02105855_2933.JPEG"
    picture = ramp(40, 30)
    path.write_bytes(file_of(picture, "PNG"))
    assert np.array_equal(square_of(path.read_bytes(), 16), square_of(picture, 16))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_lies_is_turned_upright(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = ramp(64, 48)
    stored = lying(picture, orientation, kind, **options)
    assert difference(square_of(stored, 24), square_of(picture, 24)) <= (6 if kind == "JPEG" else 1)


def test_a_large_picture_that_lies_is_turned_upright():
    picture = ramp(810, 603)
    for orientation in range(1, 9):
        stored = lying(picture, orientation)
        assert difference(square_of(stored, 50), square_of(picture, 50)) <= 6


def test_xmp_turns_a_picture_too():
    picture = ramp(64, 64)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    stored = file_of(picture[::-1, ::-1], xmp=xmp)
    assert difference(square_of(stored, 32), square_of(picture, 32)) <= 6


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0XX*\0abcdefgh", b"Exif\0\0II*\0\xff\xff\0\0"]
)
def test_broken_metadata_cost_no_picture(exif):
    picture = ramp(64, 64)
    assert difference(square_of(file_of(picture, exif=exif), 32), square_of(picture, 32)) <= 6


def test_an_orientation_that_exif_does_not_know_is_upright():
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    picture = ramp(64, 64)
    assert difference(square_of(file_of(picture, exif=exif), 32), square_of(picture, 32)) <= 6


def test_a_palette_with_a_transparent_colour_keeps_its_colours():
    corner, rest = (200, 30, 60), (10, 140, 250)
    picture = np.full((20, 20, 3), rest, np.uint8)
    picture[:10, :10] = corner
    indexed = Image.fromarray(picture).quantize(2)
    for transparent in range(2):
        stored = file_of(indexed, "PNG", transparency=transparent)
        assert np.array_equal(square_of(stored, 20), picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode):
    out = square_of(file_of(Image.new(mode, (20, 30)), "TIFF"), 8)
    assert out.shape == (8, 8, 3)
    assert out.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
)
def test_sixteen_bits_of_grey_keep_their_shades(kind, dtype):
    shades = ramp(64, 64)[..., 0]
    if kind == "PPM":
        stored = b"P5\n64 64\n65535\n" + (shades.astype(">u2") * 257).tobytes()
    else:
        stored = file_of((shades.astype(np.uint16) * 257).astype(dtype), kind)
    assert np.array_equal(square_of(stored, 32), square_of(shades, 32))
    assert shades.min() < 5
    assert shades.max() > 250


def test_sixteen_bits_of_grey_are_turned_upright_too():
    shades = ramp(64, 64)[..., 1]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = file_of(np.rot90(shades).astype(np.uint16) * 257, "PNG", exif=exif)
    assert difference(square_of(stored, 32), square_of(shades, 32)) <= 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_of_32_bits_is_skipped_as_nothing_tells_its_white(mode):
    with pytest.raises(SkippedImageError) as caught:
        square_of(file_of(Image.new(mode, (20, 20), 9), "TIFF"), 8)
    assert caught.value.reason is SkipReason.UNKNOWN_WHITE


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (3, 500), (500, 3), (10_000, 3), (7, 10_000)]
)
def test_any_shape_gives_a_square(kind, width, height):
    colour = (20, 120, 220)
    out = square_of(file_of(Image.new("RGB", (width, height), colour), kind), 8)
    assert difference(out, np.full((8, 8, 3), colour, np.uint8)) <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_ten_thousand_pixels_a_side_are_no_bomb(kind):
    shades = np.linspace(0, 255, 10_000).astype(np.uint8)
    stored = file_of(Image.fromarray(np.broadcast_to(shades, (10_000, 10_000))), kind)
    expected = np.broadcast_to(np.linspace(0, 255, 20)[:, None], (20, 20, 3))
    assert np.abs(square_of(stored, 20) - expected).max() < 8


@given(st.integers(1, 10_000), st.integers(1, 300))
def test_decoding_leaves_twice_the_edge_where_it_divides(shorter_side, size):
    divisor = divisor_for(shorter_side, size)
    assert divisor in (1, 2, 4, 8)
    assert divisor == 1 or shorter_side / divisor >= 2 * size
    # No more pixels than it takes.
    assert divisor == 8 or shorter_side / (2 * divisor) < 2 * size


@settings(max_examples=20, deadline=None)
@given(st.integers(100, 700), st.integers(100, 700), st.sampled_from(["4:4:4", "4:2:0"]))
def test_a_smaller_decoding_shows_the_same_part(width, height, subsampling):
    picture = ramp(width, height)
    stored = file_of(picture, subsampling=subsampling)
    assert divisor_for(min(width, height), 16) > 1
    assert difference(square_of(stored, 16), square_of(picture, 16)) <= 4


# What is no image, or not all of one.


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
        (png_claiming(10_001, MAX_PIXELS // 10_000), SkipReason.TOO_MANY_PIXELS),
        (png_claiming(60_000, 60_000), SkipReason.TOO_MANY_PIXELS),
    ],
)
def test_what_is_no_image_is_skipped_with_the_reason(content, reason):
    with pytest.raises(SkippedImageError) as caught:
        square_of(content, 32)
    assert caught.value.reason is reason


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(file_of(ramp(16, 16)))
    frame = data.index(b"\xff\xc0")
    # Marker (2), length (2), bits (1), height (2), width (2).
    data[frame + 5 : frame + 9] = struct.pack(">2H", height, width)
    return bytes(data)


def test_a_jpeg_of_too_many_pixels_is_not_decoded():
    with pytest.raises(SkippedImageError) as caught:
        square_of(jpeg_claiming(60_000, 60_000), 32)
    assert caught.value.reason is SkipReason.TOO_MANY_PIXELS
    with pytest.raises(SkippedImageError) as caught:
        square_of(jpeg_claiming(10_001, 10_000), 32)
    assert caught.value.reason is SkipReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("progressive", [False, True])
@settings(max_examples=50)
@given(st.data())
def test_a_jpeg_cut_short_is_skipped_and_never_filled_with_grey(progressive, data):
    whole = file_of(ramp(90, 70), progressive=progressive)
    # Without the two bytes that end it, all pixels may be there.
    cut = whole[: data.draw(st.integers(1, len(whole) - 3))]
    with suppress(SkippedImageError):
        assert difference(square_of(cut, 32), square_of(whole, 32)) <= 1


def test_a_jpeg_that_lacks_a_half_is_unreadable():
    whole = file_of(ramp(90, 70))
    with pytest.raises(SkippedImageError) as caught:
        square_of(whole[: len(whole) // 2], 32)
    assert caught.value.reason is SkipReason.UNREADABLE


def test_a_jpeg_with_bytes_between_its_parts_is_read():
    whole = file_of(ramp(64, 48))
    assert np.array_equal(square_of(with_bytes_between(whole), 32), square_of(whole, 32))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_bytes_give_a_square_or_a_reason(kind, changes):
    data = bytearray(file_of(ramp(24, 20), kind))
    for place, value in changes:
        data[place % len(data)] = value
    with suppress(SkippedImageError):
        out = square_of(bytes(data), 8)
        assert out.shape == (8, 8, 3)
        assert out.dtype == np.uint8
