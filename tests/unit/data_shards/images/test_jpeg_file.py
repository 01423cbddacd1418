from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from data_shards.images.image_file import open_image
from data_shards.images.jpeg_file import MAX_SCANS, has_too_many_scans, loss_in
from data_shards.images.original import original_of
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.images.square import square_of
from tests.unit.data_shards.images.pictures import (
    cmyk_jpeg,
    file_of,
    with_bytes_between,
    ycck_jpeg,
)

END = b"\xff\xd9"
PICTURE = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)).resize(
        (400, 600)
    )
)


def with_scans(num_scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again, as a decoder may be kept busy by."""
    stored = file_of(PICTURE, quality=80, progressive=True)
    last = stored.rindex(b"\xff\xda")
    again = num_scans - stored.count(b"\xff\xda")
    return stored.removesuffix(END) + again * stored[last:].removesuffix(END) + END


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize("read", [bytes, memoryview])
def test_more_scans_than_the_limit_are_too_many(read):
    assert not has_too_many_scans(read(with_scans(MAX_SCANS)))
    assert has_too_many_scans(read(with_scans(MAX_SCANS + 1)))


def test_an_image_of_too_many_scans_is_skipped_before_it_is_decoded():
    with open_image(with_scans(MAX_SCANS)):
        pass
    with pytest.raises(SkippedImageError) as caught, open_image(with_scans(MAX_SCANS + 1)):
        pass
    assert caught.value.reason is SkipReason.UNREADABLE
    assert str(caught.value.__cause__) == "has more than 100 scans"


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xEF, 0xFE])
def test_scans_among_metadata_or_after_the_end_are_none(marker):
    stored = file_of(PICTURE, quality=80)
    many = b"\xff\xda\x00\x02" * (MAX_SCANS + 1)
    assert not has_too_many_scans(stored[:2] + segment(marker, many) + stored[2:])
    assert not has_too_many_scans(stored + many)


def test_scans_after_what_belongs_to_nothing_are_scans():
    many = with_scans(MAX_SCANS + 1)
    # Stray bytes, bytes to fill up, and markers that have no length.
    for strays in (b"\x12" * 9, b"\xff" * 9, b"\xff\x00", b"\xff\xd3", b"\xff\x01\xff\x02"):
        assert has_too_many_scans(many[:2] + strays + many[2:])


def test_nothing_is_found_in_what_is_no_jpeg():
    whole = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x03c"
    for size in range(len(whole) + 1):
        assert not has_too_many_scans(whole[:size])
        assert loss_in(whole[:size], 3) is None


KINDS = {
    "baseline": (file_of(PICTURE, quality=80), 3),
    "progressive": (file_of(PICTURE, quality=80, progressive=True), 3),
    "grey": (file_of(PICTURE[..., 0], quality=80), 1),
    "restarts": (file_of(PICTURE, quality=80, restart_marker_blocks=5), 3),
    "as rgb": (file_of(PICTURE, quality=80, keep_rgb=True), 3),
    "cmyk": (cmyk_jpeg(PICTURE), 4),
    "ycck": (ycck_jpeg(PICTURE), 4),
}


def is_skipped(stored: bytes) -> bool:
    try:
        square_of(stored, 32)
        original_of(stored, 32, 90)
    except SkippedImageError as error:
        return error.reason is SkipReason.UNREADABLE
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_jpeg_with_an_end_is_lost(kind):
    stored, num_colours = KINDS[kind]
    assert loss_in(stored, num_colours) is None
    assert not is_skipped(stored)
    half = stored[: len(stored) // 2]
    # Pillow itself takes it for whole.
    assert Image.open(BytesIO(half + END)).load() is not None
    assert loss_in(half + END, num_colours) is not None
    assert is_skipped(half + END)
    assert is_skipped(half)


@pytest.mark.parametrize("kind", KINDS)
def test_warnings_that_cost_no_pixels_hide_none_that_do(kind):
    stored, num_colours = KINDS[kind]
    whole = [
        with_bytes_between(stored),
        stored[:2] + segment(0xE0, b"JFIF\0\x09" + bytes(8)) + stored[2:],
        stored[:2] + segment(0xE2, b"ICC_PROFILE\0" + bytes(2)) + stored[2:],
        stored[:-2] + b"\0" * 5000 + END,
        stored + b"\x12" * 100,
    ]
    for odd in whole:
        assert loss_in(odd, num_colours) is None
        assert not is_skipped(odd)
    strays = [stored[:2] + b"\x12" * 50 + stored[2:], whole[1], whole[2]]
    for odd in strays:
        assert loss_in(odd, num_colours) is None
        assert loss_in(odd[: len(odd) // 2] + END, num_colours) is not None


def test_a_lost_sector_is_noticed_though_it_reads_as_code():
    stored = file_of(PICTURE, quality=90)
    for start in range(len(stored) // 3, len(stored) - 1000, 9973):
        zeroed = stored[:start] + bytes(700) + stored[start + 700 :]
        loss = loss_in(zeroed, 3)
        assert loss is not None
        assert loss.endswith("extraneous bytes before marker 0xd9")
        assert is_skipped(zeroed)


def test_a_flat_picture_of_which_nothing_is_lost_passes():
    flat = file_of(np.full((900, 900, 3), 90, np.uint8), optimize=True)
    assert bytes(100) in flat
    assert not is_skipped(flat)
    assert loss_in(flat, 3) is None
