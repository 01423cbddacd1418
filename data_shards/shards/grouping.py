"""The samples of any WebDataset tar: its members by key, as webdataset groups them; pure."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_shards.shards.tar_index import TarLayoutError, TarMember

INDEXED_KIND = "indexed-webdataset"
"""The manifest's `packing.source` of a set that was not packed by us, but indexed as it is."""
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff")
"""Of the images in such a tar; of several images of a sample, the first of these is taken."""

# webdataset.tariterators.base_plus_ext: folders are of the key, all after the first full stop of
# the file's name is the extension.
_KEY_AND_EXTENSION = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
# webdataset.tariterators.tar_file_iterator passes over such names.
_METADATA = re.compile(r"__[^/]*__($|/)")


class GroupedSample(NamedTuple):
    """Consecutive members of one key."""

    key: str
    members: dict[str, TarMember]
    """By extension, in small letters."""


def group_by_key(members: Iterable[TarMember]) -> Iterator[GroupedSample]:
    """Yield the samples that a tar's members are of, in its order.

    Raises TarLayoutError if a sample has two members of one extension.
    """
    current: GroupedSample | None = None
    for member in members:
        match = _KEY_AND_EXTENSION.fullmatch(member.name)
        if match is None or _METADATA.match(member.name):
            continue
        key, extension = match[1], match[2].lower()
        if current is None or key != current.key:
            if current is not None:
                yield current
            current = GroupedSample(key, {})
        if extension in current.members:
            raise TarLayoutError(f"has {key}.{extension} twice in one sample")
        current.members[extension] = member
    if current is not None:
        yield current
