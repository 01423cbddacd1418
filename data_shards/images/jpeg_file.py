"""What a JPEG's file tells before it is decoded, and what of it is lost."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg

MAX_SCANS = 100
"""Of a JPEG: assumed, more than any was made with. Progressive ones have ten or so; each goes over
the whole image once more, and costs a file but a few bytes and a decoder up to a second."""

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_METADATA = frozenset([*range(0xE0, 0xF0), 0xFE])
_START, _END = b"\xff\xd8", b"\xff\xd9"
# All that lead on, for the start of a file, its end and restarts have no length. Coded data never
# hold one, for they follow each byte of 0xFF by 0; bytes that belong to nothing are passed over.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
# Of all that libjpeg warns of, what leaves it without values, which it makes up. It tells only its
# first warning. The rest is of metadata or of a header's form.
_LOSSES = (
    "Corrupt JPEG data: ",
    "Premature end of JPEG file",
    "Inconsistent progression sequence",
)
# Some cameras fill up a file before its end.
_FILLED = re.compile("Corrupt JPEG data: ([0-9]+) extraneous bytes before marker 0xd9")
# A sector that a file system lost. It may read as coded data, of which some are left over then, as
# if they filled up the file. A flat picture holds as many zeros by right, but is seldom filled up.
_LOST_SECTOR = bytes(512)


class _Segment(NamedTuple):
    marker: int
    start: int
    """Where its marker is."""
    end: int


def has_too_many_scans(data: bytes | memoryview) -> bool:
    """Tell whether a JPEG would be gone over more often than MAX_SCANS, without decoding it.

    Of several pictures in a file the first counts; pictures among its metadata do not.
    """
    num_scans = 0
    for segment in _segments(data):
        num_scans += segment.marker == _START_OF_SCAN
        if num_scans > MAX_SCANS:
            return True
    return False


def loss_in(data: bytes | memoryview, num_colours: int) -> str | None:
    """Return what libjpeg says of a JPEG if a part of its pixels is lost, else None.

    What cannot be decoded at all is not told of. `num_colours` is 1, 3 or 4.
    """
    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}[num_colours]
    bare = _bare(data)
    try:
        # Whole, but for the transform: at an eighth of the sides.
        simplejpeg.decode_jpeg(bare, colorspace=colours, min_factor=8, min_height=1, min_width=1)
    except ValueError as error:
        told = str(error)
        if not told.startswith(_LOSSES):
            return None
        filled = _FILLED.match(told)
        if filled is None or _LOST_SECTOR in bare[: bare.rindex(_END) - int(filled[1])]:
            return told
    return None


def _bare(data: bytes | memoryview) -> bytes:
    """Return a JPEG without metadata before its first scan, and without what follows its end.

    Nor with bytes before that scan that belong to nothing: so that no harmless warning is the
    first one. Nothing tells of its colours then.
    """
    kept: list[bytes] = [_START]
    scans, end = None, len(data)
    for segment in _segments(data):
        if segment.marker == _END_OF_IMAGE:
            end = segment.end
        elif segment.marker == _START_OF_SCAN and scans is None:
            scans = segment.start
        elif scans is None and segment.marker not in _METADATA:
            kept.append(bytes(data[segment.start : segment.end]))
    return b"".join([*kept, data[end if scans is None else scans : end]])


def _segments(data: bytes | memoryview) -> Iterator[_Segment]:
    """Yield what a JPEG's markers begin, up to its end, as libjpeg finds it; not coded data."""
    place = 2
    while found := _MARKER.search(data, place):
        marker, start = found[1][0], found.start()
        if marker == _END_OF_IMAGE:
            yield _Segment(marker, start, found.end())
            return
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        # A length includes its own two bytes; one that says less is an error, or taken for two.
        place = found.end() + max(length, 2)
        yield _Segment(marker, start, place)
