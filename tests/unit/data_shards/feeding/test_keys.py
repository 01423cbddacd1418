import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.keys import key_of

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def header(name: str, tar_format: int) -> bytes:
    """Return the header right before the content, as tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        tar.addfile(tarfile.TarInfo(name))
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        (member,) = tar
        return buffer.getvalue()[member.offset_data - 512 : member.offset_data]


@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("000000013.jpg", "000000013"),
        ("n01440764_10026.seg.png", "n01440764_10026"),
        ("train.d/n01440764/a.b.jpg", "train.d/n01440764/a"),
        ("no suffix", "no suffix"),
        ("é.jpg", "é"),
        ("red\x1b[31m.jpg", "red\\x1b[31m"),
    ],
)
def test_the_key_is_the_name_up_to_the_first_full_stop(name, key, tar_format):
    if tar_format == tarfile.USTAR_FORMAT or name.isascii():
        assert key_of(header(name, tar_format)) == key


def test_a_long_path_has_its_folders_before_it():
    name = "/".join(["folder" * 5] * 4) + "/0001.jpg"
    assert key_of(header(name, tarfile.USTAR_FORMAT)) == name.removesuffix(".jpg")


@given(st.binary(min_size=512, max_size=512))
def test_what_is_no_header_has_no_key(block):
    assert key_of(block) is None


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_header_with_a_changed_byte_is_none(place, change):
    block = bytearray(header("000000013.jpg", tarfile.USTAR_FORMAT))
    block[place] ^= change
    # The checksum's own field may say the same in other words.
    if place not in range(148, 156):
        assert key_of(bytes(block)) is None
    else:
        assert key_of(bytes(block)) in (None, "000000013")
