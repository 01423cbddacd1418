import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from data_shards.errors import SourceError
from data_shards.sources.matlab import read_structures

TEXTS = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF, exclude_characters="\0"))
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False)
ROWS = st.lists(st.tuples(NUMBERS, TEXTS, TEXTS), min_size=1, max_size=5)


def saved(rows, *, name="synsets", compressed=True) -> bytes:
    """What scipy writes of an array of structures, one field of which is of no use to us."""
    fields = ("ID", "children", "WNID", "gloss")
    array = np.zeros((len(rows), 1), dtype=[(field, object) for field in fields])
    for place, (number, synset, gloss) in enumerate(rows):
        array[place, 0] = (float(number), np.arange(place), synset, gloss)
    content = io.BytesIO()
    document = {"before": np.eye(3), name: array, "after": "text"}
    savemat(content, document, do_compression=compressed, oned_as="column")
    return content.getvalue()


@given(ROWS, st.booleans())
def test_what_scipy_wrote_is_read(rows, compressed):
    found = read_structures(saved(rows, compressed=compressed), "synsets", ("WNID", "ID", "gloss"))
    assert [(number, synset, gloss) for synset, number, gloss in found] == [
        (float(number), synset, gloss) for number, synset, gloss in rows
    ]


def element(kind: int, data: bytes) -> bytes:
    if 0 < len(data) <= 4:
        return struct.pack("<HH4s", kind, len(data), data)
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(matrix_class: int, shape: tuple[int, ...], name: bytes, *parts: bytes) -> bytes:
    flags = element(6, struct.pack("<II", matrix_class, 0))
    sizes = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + sizes + element(1, name) + b"".join(parts))


@pytest.mark.parametrize(
    ("kind", "data", "number"),
    [
        (1, struct.pack("<b", -7), -7),
        (2, struct.pack("<B", 200), 200),
        (3, struct.pack("<h", -999), -999),
        (4, struct.pack("<H", 1000), 1000),
        (5, struct.pack("<i", -(10**6)), -(10**6)),
        (6, struct.pack("<I", 10**6), 10**6),
        (7, struct.pack("<f", 0.5), 0.5),
        (9, struct.pack("<d", 0.1), 0.1),
        (12, struct.pack("<q", -(2**40)), -(2**40)),
        (13, struct.pack("<Q", 2**40), 2**40),
    ],
)
@pytest.mark.parametrize(("text_kind", "text"), [(4, "utf-16-le"), (16, "utf-8"), (1, "latin-1")])
def test_values_are_read_as_matlab_writes_them(kind, data, number, text_kind, text):
    # A number is a double in whatever type holds it; up to four bytes lie within the tag.
    structures = matrix(
        2,
        (1, 1),
        b"synsets",
        element(5, struct.pack("<i", 8)),
        element(1, b"ID".ljust(8, b"\0") + b"WNID".ljust(8, b"\0")),
        matrix(6, (1, 1), b"", element(kind, data)),
        matrix(4, (1, 2), b"", element(text_kind, "né".encode(text))),
    )
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + structures
    assert read_structures(content, "synsets", ("ID", "WNID")) == [(number, "né")]


CONTENT = saved([(number, f"n{number:08d}", "words") for number in range(30)], compressed=False)


@given(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_broken_file_is_told(place, noise, cut):
    content = CONTENT[:place] if cut else CONTENT[:place] + noise + CONTENT[place + len(noise) :]
    with suppress(SourceError):
        for number, synset in read_structures(content, "synsets", ("ID", "WNID")):
            assert isinstance(number, float)
            assert isinstance(synset, str)


# So few that noise falls on tags and sizes more often than on texts.
SMALL = saved([(7, "n00000007", "a")], compressed=False)[128:]


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
def test_no_bytes_are_another_error(noise, compressed):
    plain = bytearray(SMALL)
    for place, value in noise:
        plain[place] = value
    packed = zlib.compress(plain)
    content = struct.pack("<II", 15, len(packed)) + packed if compressed else bytes(plain)
    with suppress(SourceError):
        read_structures(b" " * 124 + b"\x00\x01IM" + content, "synsets", ("ID", "WNID"))


@pytest.mark.parametrize("empty", [b"", element(5, b"")])
def test_a_matrix_without_flags_or_values_is_told(empty):
    header = b" " * 124 + b"\x00\x01IM"
    with pytest.raises(SourceError, match="cannot be read as a MATLAB file"):
        read_structures(header + element(14, element(6, b"")), "synsets", ("ID",))
    structures = matrix(
        2,
        (1, 1),
        b"synsets",
        element(5, struct.pack("<i", 8)),
        element(1, b"ID".ljust(8, b"\0")),
        matrix(6, (1, 1), b"", empty),
    )
    with pytest.raises(SourceError, match="cannot be read as a MATLAB file"):
        read_structures(header + structures, "synsets", ("ID",))


@pytest.mark.parametrize(
    ("content", "fields", "problem"),
    [
        (b"", ("ID",), "no header of version 5"),
        (b"MATLAB 7.3 MAT-file" + bytes(200), ("ID",), "no header of version 5"),
        (saved([(1, "a", "b")], name="others"), ("ID",), "holds no structures synsets"),
        (CONTENT, ("ID", "words"), "synsets has no field words"),
        (CONTENT, ("children",), "children is neither a text nor a number"),
        (CONTENT[:1000], ("ID",), "cut short"),
    ],
)
def test_says_what_is_missing(content, fields, problem):
    with pytest.raises(SourceError, match=problem):
        read_structures(content, "synsets", fields)


def test_a_bomb_is_not_unpacked():
    bomb = io.BytesIO()
    savemat(bomb, {"synsets": np.zeros(9 << 20)}, do_compression=True)
    with pytest.raises(SourceError, match="more than 67108864 bytes are compressed in it"):
        read_structures(bomb.getvalue(), "synsets", ("ID",))
