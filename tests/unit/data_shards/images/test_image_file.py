from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from data_shards.images import image_file
from data_shards.images.image_file import ImageFile, open_image
from data_shards.images.skip import SkippedImageError, SkipReason
from tests.unit.data_shards.images.pictures import (
    cmyk_jpeg,
    file_of,
    ramp,
    with_bytes_between,
    ycck_jpeg,
)

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
showpage
%%EOF
"""


@settings(max_examples=60)
@given(
    st.integers(0, 99),
    st.integers(1, 80),
    st.integers(1, 80),
    st.sampled_from(["RGB", "L"]),
    st.fixed_dictionaries(
        {
            "quality": st.integers(5, 100),
            "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:1:1"]),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.integers(0, 3),
        }
    ),
)
def test_a_plain_jpeg_gives_the_bits_of_pillow(seed, width, height, mode, options):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stored = file_of(Image.fromarray(pixels).convert(mode), **options)
    with open_image(stored) as file:
        assert file.size == (width, height)
        plain, decoded = file.plain_jpeg(), np.asarray(file.decoded())
    assert plain is not None
    assert np.array_equal(plain, decoded)


def test_a_jpeg_that_was_stored_as_rgb_is_plain():
    with open_image(file_of(ramp(20, 30), keep_rgb=True)) as file:
        plain, decoded = file.plain_jpeg(), np.asarray(file.decoded())
    assert plain is not None
    assert np.array_equal(plain, decoded)


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@given(width=st.integers(1, 200), height=st.integers(1, 200))
def test_sides_are_divided_and_rounded_up(divisor, width, height):
    with open_image(file_of(ramp(width, height))) as file:
        plain = file.plain_jpeg(divisor)
    assert plain is not None
    assert plain.shape == (-(-height // divisor), -(-width // divisor), 3)


def mpo() -> bytes:
    file = BytesIO()
    first, second = Image.fromarray(ramp(20, 30)), Image.fromarray(ramp(10, 10))
    first.save(file, "MPO", save_all=True, append_images=[second], quality=97, subsampling=0)
    return file.getvalue()


def test_the_first_of_several_pictures_in_a_file_counts():
    with open_image(mpo()) as file:
        plain, decoded = file.plain_jpeg(), np.asarray(file.decoded())
    assert plain is not None
    assert np.array_equal(plain, decoded)
    assert np.abs(plain.astype(int) - ramp(20, 30)).max() <= 6


@pytest.mark.parametrize(
    "stored",
    [
        file_of(ramp(20, 30), "PNG"),
        cmyk_jpeg(ramp(20, 30)),
        ycck_jpeg(ramp(20, 30)),
        # Bytes that libjpeg warns of; a JPEG that ends too early.
        with_bytes_between(file_of(ramp(20, 30))),
        file_of(ramp(20, 30))[:-9],
    ],
)
def test_others_are_no_plain_jpegs(stored):
    with open_image(stored) as file:
        assert file.plain_jpeg() is None


def test_a_jpeg_of_another_size_than_its_header_told_is_no_plain_one():
    with Image.open(BytesIO(file_of(ramp(20, 30)))) as header:
        assert ImageFile(file_of(ramp(20, 30)), header).plain_jpeg() is not None
        assert ImageFile(file_of(ramp(60, 90)), header).plain_jpeg() is None


def test_no_file_has_an_outside_program_started(monkeypatch):
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    with Image.open(BytesIO(EPS)) as image, pytest.raises(AssertionError, match="Ghostscript"):
        image.load()
    with pytest.raises(SkippedImageError) as caught, open_image(EPS):
        pass
    assert caught.value.reason is SkipReason.UNREADABLE
    assert not isinstance(caught.value.__cause__, AssertionError)


def test_a_file_of_too_many_bytes_is_not_opened(monkeypatch):
    stored = file_of(ramp(20, 30))
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", len(stored))
    with open_image(stored):
        pass
    with pytest.raises(SkippedImageError) as caught, open_image(stored + b"\0"):
        pass
    assert caught.value.reason is SkipReason.TOO_MANY_BYTES


def test_want_of_memory_is_not_the_image_s_fault():
    with pytest.raises(MemoryError), open_image(file_of(ramp(20, 30))):
        raise MemoryError
