import io
import resource
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.feeding.corrupt import CorruptImageError, CorruptReason
from data_shards.feeding.decode import Decoder
from data_shards.images.encode import encode_jpeg
from data_shards.images.square import square_of

random = np.random.default_rng(0)
IMAGE = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
JPEG = encode_jpeg(IMAGE, 90)


def as_file(image: np.ndarray, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, **options)
    return file.getvalue()


# Of the kinds that distributed images are: baseline with and without full colour, progressive.
KINDS = {
    "4:2:0": JPEG,
    "4:4:4": as_file(IMAGE, "JPEG", quality=95, subsampling=0),
    "progressive": as_file(IMAGE, "JPEG", quality=90, progressive=True),
}


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """Change the size that a JPEG's header claims."""
    place = next(jpeg.find(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in jpeg)
    return jpeg[: place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9 :]


def png_claiming(width: int, height: int) -> bytes:
    """Make a PNG of a few bytes that would be of so many pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1 << 16))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def why_corrupt(decoder: Decoder, data: bytes) -> CorruptReason | None:
    try:
        decoder.decode(memoryview(data))
    except CorruptImageError as error:
        return error.reason
    return None


def test_raw_is_exact():
    assert np.array_equal(Decoder("raw", 16).decode(memoryview(IMAGE.tobytes())), IMAGE)


def test_jpeg_is_near():
    smooth = np.zeros((16, 16, 3), dtype=np.uint8)
    smooth[:] = np.arange(16)[:, None, None] * 10 + np.array([0, 40, 80])
    decoded = Decoder("jpeg", 16).decode(memoryview(encode_jpeg(smooth, 95)))
    assert np.abs(decoded.astype(int) - smooth).max() < 8


@pytest.mark.parametrize(
    ("encoding", "data", "reason", "detail"),
    [
        ("raw", IMAGE.tobytes()[:-1], CorruptReason.WRONG_SIZE, "has 767 bytes, not 768"),
        ("jpeg", b"", CorruptReason.NOT_AN_IMAGE, "is not a JPEG"),
        ("jpeg", b"not an image at all", CorruptReason.NOT_AN_IMAGE, "is not a JPEG"),
        ("jpeg", as_file(IMAGE, "PNG"), CorruptReason.NOT_AN_IMAGE, "is not a JPEG"),
        ("jpeg", b"\xff\xd8\xff" + bytes(100), CorruptReason.BROKEN, "Could not determine"),
        ("jpeg", JPEG[: len(JPEG) - 20], CorruptReason.BROKEN, "end of JPEG"),
        ("jpeg", encode_jpeg(IMAGE[:8, :8], 90), CorruptReason.WRONG_SIZE, "is 8×8, not 16 square"),
        (
            "jpeg",
            encode_jpeg(np.zeros((4096, 4096, 3), np.uint8), 50),
            CorruptReason.WRONG_SIZE,
            "is 4096×4096, not 16 square",
        ),
        (
            "jpeg",
            encode_jpeg(np.zeros((8, 32, 3), np.uint8), 50),
            CorruptReason.WRONG_SIZE,
            "is 32×8, not 16 square",
        ),
    ],
)
def test_what_is_not_the_image_promised_is_corrupt(encoding, data, reason, detail):
    with pytest.raises(CorruptImageError, match=detail) as caught:
        Decoder(encoding, 16).decode(memoryview(data))
    assert caught.value.reason is reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_short_anywhere_is_corrupt_and_never_filled_with_grey(kind):
    data, decoder = KINDS[kind], Decoder("jpeg", 16)
    assert why_corrupt(decoder, data) is None
    for size in range(len(data)):
        expected = CorruptReason.NOT_AN_IMAGE if size < 3 else CorruptReason.BROKEN
        assert why_corrupt(decoder, data[:size]) is expected
        # As a file system leaves it that lost what was not yet on disk.
        zeroed = data[:size] + bytes(len(data) - size)
        assert zeroed == data or why_corrupt(decoder, zeroed) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_corrupt_or_an_image_of_the_size_promised(kind):
    data, decoder = KINDS[kind], Decoder("jpeg", 16)
    found = set()
    for place in random.integers(0, 8 * len(data), 1500).tolist():
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        found.add(why_corrupt(decoder, bytes(flipped)))
    # What neither header nor coding gives away, the shard's digest does.
    assert {None, CorruptReason.BROKEN} <= found


@given(st.integers(0, len(JPEG) - 1), st.integers(0, 255))
def test_a_changed_byte_never_breaks_the_decoder(place, value):
    data = bytearray(JPEG)
    data[place] = value
    with suppress(CorruptImageError):
        assert Decoder("jpeg", 16).decode(memoryview(data)).shape == (16, 16, 3)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(
    "bomb",
    [
        claiming(JPEG, 65_500, 65_500),
        claiming(KINDS["progressive"], 65_500, 65_500),
        png_claiming(2**31 - 1, 2**31 - 1),
        png_claiming(50_000, 50_000),
    ],
    ids=["jpeg", "progressive jpeg", "png of 2^62 pixels", "png of 2.5 billion pixels"],
)
def test_a_pixel_bomb_is_refused_before_it_takes_memory(bomb, squared):
    decoder = Decoder("jpeg", 16, squared=squared)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reason = why_corrupt(decoder, bomb)
    grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if not squared:
        assert reason is CorruptReason.TOO_MANY_PIXELS
    elif bomb.startswith(b"\xff\xd8"):
        assert reason is CorruptReason.WRONG_SIZE
    else:
        assert reason is CorruptReason.NOT_AN_IMAGE
    assert grown_bytes < 50_000_000


def test_a_text_chunk_that_unpacks_to_gigabytes_is_refused():
    bomb = as_file(IMAGE, "PNG")
    body = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # After the header, which is 33 bytes.
    reason = why_corrupt(Decoder("jpeg", 16, squared=False), bomb[:33] + chunk + bomb[33:])
    grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert reason in (None, CorruptReason.BROKEN)
    assert grown_bytes < 50_000_000


WIDE = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "stored",
    [
        as_file(WIDE, "JPEG", quality=90),
        as_file(WIDE, "PNG"),
        as_file(WIDE[..., 0], "PNG"),
        as_file(IMAGE[:5, :7], "PNG"),
        as_file(WIDE, "BMP"),
    ],
    ids=["jpeg", "png", "grey png", "tiny png", "bmp"],
)
@pytest.mark.parametrize("bgr", [False, True])
def test_an_image_as_it_came_is_squared_as_packing_squares_it(stored, bgr):
    decoder = Decoder("jpeg", 16, squared=False)
    packed = Decoder("raw", 16).decode(memoryview(square_of(stored, 16).tobytes()), bgr=bgr)
    assert np.array_equal(decoder.decode(memoryview(stored), bgr=bgr), packed)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b"GIF", CorruptReason.NOT_AN_IMAGE),
        (b"not an image at all", CorruptReason.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", CorruptReason.NOT_AN_IMAGE),
        (as_file(WIDE, "JPEG")[:-300], CorruptReason.BROKEN),
        (as_file(WIDE, "PNG")[:-300], CorruptReason.BROKEN),
        (as_file(np.ones((20, 20), dtype=np.int32), "TIFF"), CorruptReason.UNKNOWN_WHITE),
    ],
)
def test_what_cannot_be_squared_is_corrupt_for_the_same_reason(stored, reason):
    with pytest.raises(CorruptImageError) as caught:
        Decoder("jpeg", 16, squared=False).decode(memoryview(stored))
    assert caught.value.reason is reason
    assert caught.value.detail


@given(st.sampled_from(["raw", "jpeg", "squared"]), st.integers(1, 16), st.data(), st.booleans())
def test_crop_is_the_slice_reflected_or_not(encoding, edge, data, mirror):
    row, column = (data.draw(st.integers(0, 16 - edge)) for _ in range(2))
    if encoding == "squared":
        decoder, stored = Decoder("jpeg", 16, squared=False), KINDS["4:2:0"]
    else:
        decoder = Decoder(encoding, 16)
        stored = JPEG if encoding == "jpeg" else IMAGE.tobytes()
    whole = decoder.decode(memoryview(stored)).copy()
    out = np.empty((edge, edge, 3), dtype=np.uint8)
    decoder.decode_crop(memoryview(stored), out, row, column, mirror=mirror)
    expected = whole[row : row + edge, column : column + edge]
    assert np.array_equal(out, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_bgr_is_rgb_the_other_way_round(encoding):
    decoder = Decoder(encoding, 16)
    stored = memoryview(JPEG if encoding == "jpeg" else IMAGE.tobytes())
    rgb = decoder.decode(stored).copy()
    assert np.array_equal(decoder.decode(stored, bgr=True), rgb[..., ::-1])


@pytest.mark.parametrize("quality", [1, 100])
def test_no_image_of_the_size_promised_has_too_many_bytes(quality):
    noise = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    largest = as_file(noise, "JPEG", quality=quality, subsampling=0)
    assert len(largest) <= Decoder("jpeg", 64).max_bytes


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "squared"])
def test_crops_of_a_batch_are_those_of_each_and_what_is_corrupt_is_told(encoding):
    if encoding == "squared":
        decoder, image = Decoder("jpeg", 16, squared=False), JPEG
    else:
        decoder, image = Decoder(encoding, 16), JPEG if encoding == "jpeg" else IMAGE.tobytes()
    stored = {0: image, 2: image[:-30], 3: image, 5: b"", 7: image}
    offsets, mirrored = random.integers(0, 9, (8, 2)), random.integers(0, 2, 8).astype(bool)
    out = np.full((8, 8, 8, 3), 7, dtype=np.uint8)
    views = {place: memoryview(data) for place, data in stored.items()}
    corrupt = decoder.decode_crops(views, offsets, mirrored, out)
    assert sorted(corrupt) == [2, 5]
    assert all(isinstance(error, CorruptImageError) for error in corrupt.values())
    for place in (0, 3, 7):
        one = np.empty((8, 8, 3), dtype=np.uint8)
        row, column = offsets[place].tolist()
        decoder.decode_crop(views[place], one, row, column, mirror=bool(mirrored[place]))
        assert np.array_equal(out[place], one)
    assert (out[[1, 4, 6]] == 7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_tells_of_each_damaged_image_what_it_tells_of_it_alone(kind):
    data, decoder = KINDS[kind], Decoder("jpeg", 16)
    damaged = [data, *(data[:size] for size in range(0, len(data), 3))]
    damaged += [data[:size] + bytes(len(data) - size) for size in range(2, len(data), 7)]
    for place in random.integers(0, 8 * len(data), 300).tolist():
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    count = len(damaged)
    offsets = random.integers(0, 5, (count, 2))
    mirrored = random.integers(0, 2, count).astype(bool)
    out = np.zeros((count, 12, 12, 3), dtype=np.uint8)
    stored = {place: memoryview(content) for place, content in enumerate(damaged)}
    corrupt = decoder.decode_crops(stored, offsets, mirrored, out)
    assert set(range(1, 1 + -(-len(data) // 3))) <= set(corrupt)
    told = {}
    for place, content in stored.items():
        alone = np.empty((12, 12, 3), dtype=np.uint8)
        row, column = offsets[place].tolist()
        try:
            decoder.decode_crop(content, alone, row, column, mirror=bool(mirrored[place]))
        except CorruptImageError as error:
            told[place] = error
            continue
        assert np.array_equal(out[place], alone)
    assert {place: (error.reason, error.detail) for place, error in corrupt.items()} == {
        place: (error.reason, error.detail) for place, error in told.items()
    }
