"""What a source of labelled images is to whoever packs it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from data_shards.arrays import Pixels
from data_shards.manifest import ClassEntry, SkippedImage

OnProgress = Callable[[int, int], None]
"""Hears how far a long listing or decompression has come: (done, of how much), in bytes."""


class Extent(NamedTuple):
    """Bytes of an image within a file of the source."""

    name: str
    """What people know the image by, such as its path within a tar."""
    file: str
    """The file, below the source's folder."""
    offset: int
    size_bytes: int

    def __str__(self) -> str:
        return self.name


# What a reader needs to find an image: a path below its root, a place in its array, or a range of
# bytes; `str` of it names the image to people.
Reference = str | int | Extent


class ImageReader(Protocol):
    """Reads images in a packing process; picklable."""

    def read(self, reference: Reference) -> bytes | Pixels:
        """Return an image file's bytes, or pixels, uint8 (h, w, 3) RGB or (h, w) grey.

        Raises SkippedImageError if this image is to be left out; SourceError or StorageError if
        nothing can be read.
        """


@dataclass(frozen=True)
class Source:
    """A labelled set of images."""

    kind: str
    """Its layout, as the manifest tells it."""
    classes: tuple[ClassEntry, ...]
    samples: Sequence[tuple[Reference, int]]
    """(reference, label) of each, in an order of its own."""
    sha256: str
    """Tells it from other sources of its kind; the manifest's Packing says what is digested."""
    reader: ImageReader
    lies_in: tuple[str, ...] = ()
    """Folders, as paths or URLs, that files of it lie in: nothing may be packed into them."""
    lies_below: tuple[str, ...] = ()
    """Folders in which it is told by the folders that they hold: nothing may be packed below."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Samples left out as they were listed, by reason."""
    skipped_images: tuple[SkippedImage, ...] = ()
    """The first of them."""


def printable(name: str) -> str:
    """Return a file's name with the bytes escaped that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
