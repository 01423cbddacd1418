import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.feeding.keys import KEY_BYTES, key_of

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def before(name: str, tar_format: int, **headers: str) -> bytes:
    """Return what tarfile writes before the content of a member that follows another."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        first = tarfile.TarInfo("first.jpg")
        first.size = 2000
        tar.addfile(first, io.BytesIO(bytes(range(200)) * 10))
        info = tarfile.TarInfo(name)
        info.pax_headers = headers
        tar.addfile(info)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        _, member = tar
        return buffer.getvalue()[member.offset_data - KEY_BYTES : member.offset_data]


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
        ("/".join(["folder" * 5] * 6) + "/0001.jpg", "/".join(["folder" * 5] * 6) + "/0001"),
    ],
)
def test_the_key_is_the_name_up_to_the_first_full_stop(name, key, tar_format):
    assert key_of(before(name, tar_format)) == key


def test_a_name_without_folders_may_take_a_block():
    name = "x" * 400
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert key_of(before(f"{name}.jpg", tar_format)) == name
    # Longer ones as far as the header has them.
    assert key_of(before("y" * 2000, tarfile.PAX_FORMAT)) == "y" * 100


def test_other_records_are_passed_over():
    found = before("é.jpg", tarfile.PAX_FORMAT, comment="path=no", mtime="1.5")
    assert key_of(found) == "é"
    only_others = before("e.jpg", tarfile.PAX_FORMAT, comment="path=no")
    assert key_of(only_others) == "e"


def test_the_first_member_has_nothing_before_its_header():
    header = before("000000013.jpg", tarfile.USTAR_FORMAT)[-512:]
    assert key_of(header) == "000000013"
    assert key_of(b"") is None


@given(st.binary(min_size=512, max_size=512))
def test_what_is_no_header_has_no_key(block):
    assert key_of(block) is None


@given(st.integers(0, KEY_BYTES - 1), st.integers(1, 255), st.sampled_from(FORMATS))
def test_a_changed_byte_never_breaks_it(place, change, tar_format):
    block = bytearray(before("é" * 120, tar_format) if tar_format != FORMATS[0] else before("a", 0))
    block[place] ^= change
    found = key_of(bytes(block))
    assert found is None or found.isprintable()


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_header_with_a_changed_byte_is_none(place, change):
    block = bytearray(before("000000013.jpg", tarfile.USTAR_FORMAT)[-512:])
    block[place] ^= change
    # The checksum's own field may say the same in other words.
    if place not in range(148, 156):
        assert key_of(bytes(block)) is None
    else:
        assert key_of(bytes(block)) in (None, "000000013")


@pytest.mark.parametrize("size", [b"zzz ", b"-7 ", b"0 ", b"9999 ", b" "])
def test_a_record_that_lies_of_its_length_ends_the_search(size):
    block = bytearray(before("é" * 60, tarfile.PAX_FORMAT))
    # Its content, the second block, with another length at the beginning.
    block[512 : 512 + len(size)] = size
    assert key_of(bytes(block)) is not None
