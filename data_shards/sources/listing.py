"""Lists of a source's images, in columns: a million of them must fit where packers run."""

import os
from array import array
from collections.abc import Iterable, Sequence
from copy import copy
from hashlib import sha256
from typing import NamedTuple, overload

import numpy as np

from data_shards.arrays import Int64s
from data_shards.sources.source import Extent

# The first columns; the others of ListedImage follow.
_NAME_END, _LABEL = 0, 1
# Rows that are Python objects while a listing is digested.
_DIGESTED_AT_ONCE = 1 << 12


class ListedImage(NamedTuple):
    """An image as its source lists it."""

    name: str
    label: int
    size_bytes: int
    file: int = 0
    """Which of the source's files it lies in, if not in one of its own."""
    offset: int = 0


class Listing(Sequence[tuple[str | Extent, int]]):
    """(reference, label) of each image: 40 bytes and its name, instead of 300 as Python objects."""

    def __init__(self, images: Iterable[ListedImage], files: Sequence[str] | None) -> None:
        """Take images and the files that they lie in; None: each lies in that of its name."""
        self._files = files
        names, rows = bytearray(), array("q")
        for image in images:
            names += os.fsencode(image.name)
            rows.extend((len(names), *image[1:]))
        self._names = bytes(names)
        # (5N,) -> (N, 5)
        self._rows: Int64s = np.frombuffer(rows, dtype=np.int64).reshape(-1, 5)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> tuple[str | Extent, int]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[str | Extent, int]]: ...
    def __getitem__(
        self, place: int | slice
    ) -> tuple[str | Extent, int] | list[tuple[str | Extent, int]]:
        """Return (reference, label): a path, or where the image lies in which file."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        name = os.fsdecode(self._name(place))
        _, label, size, file, offset = self._rows[place].tolist()
        if self._files is None:
            return name, label
        return Extent(name, self._files[file], offset, size), label

    def relabelled(self, numbers: Int64s) -> "Listing":
        """Return the same images, each of whose labels is the number at the old one's place."""
        other = copy(self)
        other._rows = self._rows.copy()
        other._rows[:, _LABEL] = numbers[self._rows[:, _LABEL]]
        return other

    def sha256(self, *, with_labels: bool) -> str:
        """Digest name, size and, where the name does not tell it, label of every image.

        Quick, and the same for every copy of a source. An image that changed without changing its
        size escapes it.
        """
        digest = sha256()
        for first in range(0, len(self), _DIGESTED_AT_ONCE):
            rows = self._rows[first : first + _DIGESTED_AT_ONCE].tolist()
            for place, (_, label, size, _, _) in enumerate(rows, first):
                # No name holds a NUL.
                digest.update(self._name(place) + f"\0{size}\0".encode())
                if with_labels:
                    digest.update(f"{label}\0".encode())
        return digest.hexdigest()

    def _name(self, place: int) -> bytes:
        begin = int(self._rows[place - 1, _NAME_END]) if place else 0
        return self._names[begin : int(self._rows[place, _NAME_END])]
