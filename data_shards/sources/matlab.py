"""Structures in MATLAB's files of version 5: as much of the format as ImageNet's devkit needs.

"MAT-File Format", The MathWorks: a header of 128 bytes, then elements: a tag (type, size), data
padded to 8 bytes. Written for one file of two megabytes, to spare who packs it scipy's hundred.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_shards.errors import SourceError

_HEADER_BYTES = 128
# Types of elements.
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
# Classes of matrices.
_STRUCTURE, _TEXT, _FIRST_NUMBER, _LAST_NUMBER = 2, 4, 6, 15
# Assumed: ten times what ImageNet's takes.
_MAX_PLAIN_BYTES = 64 << 20

Value = str | float


class _BrokenError(Exception):
    """The file is not as the format has it."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


def read_structures(content: bytes, name: str, fields: Sequence[str]) -> list[tuple[Value, ...]]:
    """Return the values of some fields of each structure in the array `name` of a file.

    Each must be a text or a single number. Raises SourceError.
    """
    try:
        return _read(content, name, fields)
    except (_BrokenError, struct.error, UnicodeDecodeError, zlib.error, ValueError) as error:
        raise SourceError(f"it cannot be read as a MATLAB file: {error}") from error


def _read(content: bytes, name: str, fields: Sequence[str]) -> list[tuple[Value, ...]]:
    if len(content) < _HEADER_BYTES or content[124:128] != b"\x00\x01IM":
        raise _BrokenError("it has no header of version 5, little-endian")
    for kind, data in _elements(memoryview(content)[_HEADER_BYTES:]):
        element = _decompressed(data) if kind == _COMPRESSED else _Element(kind, data)
        if element.kind == _MATRIX and (found := _structures(element.data, name, fields)):
            return found
    raise _BrokenError(f"it holds no structures {name}")


def _elements(data: memoryview) -> Iterator[_Element]:
    """Yield the elements that lie one after another."""
    place = 0
    while place + 8 <= len(data):
        word, size = struct.unpack_from("<II", data, place)
        if word >> 16:
            # Up to four bytes lie within the tag.
            kind, size, begin, end = word & 0xFFFF, word >> 16, place + 4, place + 8
            if size > 4:
                raise _BrokenError(f"a small element of {size} bytes")
        else:
            kind, begin = word, place + 8
            end = begin + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if begin + size > len(data):
            raise _BrokenError("it was cut short")
        yield _Element(kind, data[begin : begin + size])
        place = end


def _decompressed(data: memoryview) -> _Element:
    plain = zlib.decompressobj().decompress(data, _MAX_PLAIN_BYTES)
    if len(plain) == _MAX_PLAIN_BYTES:
        raise _BrokenError(f"more than {_MAX_PLAIN_BYTES} bytes are compressed in it")
    return _first(_elements(memoryview(plain)))


def _structures(data: memoryview, name: str, fields: Sequence[str]) -> list[tuple[Value, ...]]:
    """Return an array's structures; none if the matrix is another."""
    elements = _elements(data)
    matrix_class = _matrix_class(elements)
    shape = np.frombuffer(_first(elements).data, dtype="<i4")
    found_name = bytes(_first(elements).data).decode("ascii")
    if matrix_class != _STRUCTURE or found_name != name:
        return []
    (width,) = struct.unpack_from("<i", _first(elements).data)
    if width < 1:
        raise _BrokenError(f"names of {width} bytes")
    names = bytes(_first(elements).data)
    # Each padded with NULs to the same width.
    held = [
        names[begin : begin + width].partition(b"\0")[0].decode("ascii")
        for begin in range(0, len(names), width)
    ]
    if missing := [field for field in fields if field not in held]:
        raise _BrokenError(f"{name} has no field {', '.join(missing)}")
    structures = []
    for _ in range(int(np.prod(shape, dtype=np.int64))):
        values = {field: _first(elements) for field in held}
        structures.append(tuple(_value(values[field].data, field) for field in fields))
    return structures


def _value(data: memoryview, field: str) -> Value:
    elements = _elements(data)
    matrix_class = _matrix_class(elements)
    shape = np.frombuffer(_first(elements).data, dtype="<i4")
    # A matrix within a structure has an empty name.
    _first(elements)
    if matrix_class == _TEXT:
        kind, text = next(elements, _Element(16, memoryview(b"")))
        if kind in _TEXTS:
            return bytes(text).decode(_TEXTS[kind])
    elif _FIRST_NUMBER <= matrix_class <= _LAST_NUMBER and shape.tolist() == [1, 1]:
        # Stored as the smallest type that holds them.
        kind, numbers = _first(elements)
        if kind in _NUMBERS and numbers:
            return float(np.frombuffer(numbers, dtype=f"<{_NUMBERS[kind]}")[0])
    raise _BrokenError(f"{field} is neither a text nor a number")


def _matrix_class(elements: Iterator[_Element]) -> int:
    """Return the class of the matrix whose elements these are; flags come first."""
    flags = _first(elements).data
    if not flags:
        raise _BrokenError("a matrix without flags")
    return flags[0]


def _first(elements: Iterator[_Element]) -> _Element:
    element = next(elements, None)
    if element is None:
        raise _BrokenError("it was cut short")
    return element
