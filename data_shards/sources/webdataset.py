"""WebDataset: tars whose members are samples by their names, KEY.jpg and KEY.cls."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import BinaryIO, NamedTuple

import numpy as np

from data_shards.arrays import Pixels
from data_shards.errors import SourceError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.manifest import MANIFEST_NAME, ClassEntry, Manifest, parse_manifest
from data_shards.shards.grouping import group_by_key
from data_shards.shards.tar_index import TarLayoutError, TarMember, walk_tar
from data_shards.sources.archive import opened_tar, tar_size
from data_shards.sources.class_names import CLASSES_FILE, read_classes
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.image_paths import SPLIT_NAMES, names_of_split
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import OnProgress, Reference, Source
from data_shards.storage.folder import Folder

# Of several images of a sample, the first of these is taken.
_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff")
_RAW_SUFFIX = "rgb"
# Fields of KEY.json that may hold the label, where there is no KEY.cls.
_LABEL_FIELDS = ("label", "cls", "class_id")
_MAX_LABEL_BYTES = 1 << 20
# Assumed: five times ImageNet's synsets.
_MAX_CLASSES = 100_000
_MAX_MANIFEST_BYTES = 64 << 20
# Assumed: an object store answers so many at once well; none of them waits for the processor.
_LISTED_AT_ONCE = 8


class _Sample(NamedTuple):
    image: TarMember
    label: int


class _SampleError(Exception):
    """A sample is not as it must be; says which and how."""


@dataclass(frozen=True)
class _RawReader:
    """Reads the pixels that a set packed here as raw holds."""

    extents: ExtentReader
    size: int

    def read(self, reference: Reference) -> Pixels:
        pixels = np.frombuffer(self.extents.read(reference), dtype=np.uint8)
        if len(pixels) != self.size * self.size * 3:
            raise SkippedImageError(SkipReason.UNREADABLE)
        # (size * size * 3,) -> (size, size, 3)
        return pixels.reshape(self.size, self.size, 3)


def holds_samples(listed: Sequence[TarMember]) -> bool:
    """Tell by some members of a tar whether they are samples: an image and its label by one key."""
    try:
        return any(
            not members.keys().isdisjoint((*_IMAGE_SUFFIXES, _RAW_SUFFIX))
            and not members.keys().isdisjoint(("cls", "json"))
            for _, members in group_by_key(listed)
        )
    except TarLayoutError:
        # x.jpg and x.JPG, as people name images.
        return False


def tars_of_split(names: Sequence[str], split: str, where: str) -> list[str]:
    """Return the tars of a split among a folder's files: all, if their names tell no split.

    Raises SourceError if they tell splits, but not this one.
    """
    tars = sorted(name for name in names if name.endswith(".tar"))
    words = {name: SPLIT_NAMES.intersection(re.split("[^a-z]+", name.lower())) for name in tars}
    told = sorted(set().union(*words.values()))
    chosen = [name for name in tars if words[name].intersection(names_of_split(split))]
    if told and not chosen:
        raise SourceError(
            f"{where} holds tars of {', '.join(told)}, but none of {split}; choose one of them "
            "with --split"
        )
    return chosen or tars


def open_packed(folder: Folder, on_progress: OnProgress) -> Source:
    """List the samples of a set that has a manifest. Raises SourceError, or ManifestError."""
    where = folder.at(MANIFEST_NAME)
    content = folder.read_bytes(MANIFEST_NAME, _MAX_MANIFEST_BYTES)
    manifest = parse_manifest(content.decode("utf-8", "replace"), where)
    return _opened(folder, [entry.name for entry in manifest.shards], manifest, None, on_progress)


def open_webdataset(
    folder: Folder, tars: Sequence[str], classes_in: Folder, on_progress: OnProgress
) -> Source:
    """List the samples of tars below a folder, in the order of the tars' names.

    Classes have the names that classes.txt in `classes_in` tells, else their numbers. Raises
    SourceError.
    """
    return _opened(folder, sorted(tars), None, classes_in, on_progress)


def _opened(
    folder: Folder,
    tars: Sequence[str],
    manifest: Manifest | None,
    classes_in: Folder | None,
    on_progress: OnProgress,
) -> Source:
    is_raw = manifest is not None and manifest.encoding == "raw"
    suffixes = (_RAW_SUFFIX,) if is_raw else _IMAGE_SUFFIXES
    samples = Listing(_images(folder, tars, suffixes, on_progress), tars)
    if not samples:
        raise SourceError(
            f"the {len(tars)} tars in {folder.location} hold no samples of KEY.cls and KEY.jpg; if "
            "one of them holds folders of images, name that tar itself"
        )
    classes = manifest.classes if manifest else read_classes(classes_in) if classes_in else None
    if classes is None:
        classes = tuple(ClassEntry(name=str(label)) for label in range(samples.max_label + 1))
    elif samples.max_label >= len(classes):
        told_by = MANIFEST_NAME if manifest else CLASSES_FILE
        raise SourceError(
            f"a sample in {folder.location} has the label {samples.max_label}, where {told_by} "
            f"names {len(classes)} classes, from 0 on; mend {told_by}"
        )
    reader = ExtentReader(folder.location)
    return Source(
        kind="webdataset",
        classes=classes,
        samples=samples,
        sha256=samples.sha256(with_labels=True),
        reader=_RawReader(reader, manifest.image_size) if manifest and is_raw else reader,
    )


def _images(
    folder: Folder, tars: Sequence[str], suffixes: Sequence[str], on_progress: OnProgress
) -> Iterator[ListedImage]:
    """Yield the images of all tars in order, while several are listed."""
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        try:
            ends = list(accumulate(pool.map(partial(tar_size, folder), tars)))
            listings = pool.map(partial(_list_samples, folder, suffixes), tars)
            for number, (tar, samples) in enumerate(zip(tars, listings, strict=True)):
                for (name, offset, size_bytes), label in samples:
                    yield ListedImage(f"{tar}/{name}", label, size_bytes, number, offset)
                on_progress(ends[number], ends[-1])
        finally:
            # Else an error in the first tar would be told only when all were listed.
            pool.shutdown(cancel_futures=True)


def _list_samples(folder: Folder, suffixes: Sequence[str], tar: str) -> list[_Sample]:
    with opened_tar(folder, tar) as file:
        try:
            return [
                _Sample(image, _label(file, key, members))
                for key, members in group_by_key(walk_tar(file))
                if (image := _image(key, members, suffixes)) is not None
            ]
        except _SampleError as error:
            raise SourceError(
                f"{folder.at(tar)}: {error}; mend that sample, or, if the tar holds folders of "
                "images and no samples, name the tar itself"
            ) from None


def _image(key: str, members: Mapping[str, TarMember], suffixes: Sequence[str]) -> TarMember | None:
    """Return a sample's image; None for what is neither image nor label, such as a read-me."""
    image = next((members[suffix] for suffix in suffixes if suffix in members), None)
    if image is None and "cls" in members:
        if _RAW_SUFFIX in members:
            raise _SampleError(
                f"{key}.{_RAW_SUFFIX} holds pixels whose size its {MANIFEST_NAME} tells; name the "
                "folder of that"
            )
        raise _SampleError(f"{key} has a label and no image ({', '.join(suffixes)})")
    return image


def _label(file: BinaryIO, key: str, members: Mapping[str, TarMember]) -> int:
    member = members.get("cls") or members.get("json")
    if member is None:
        raise _SampleError(f"{key} has an image and no label, {key}.cls or {key}.json")
    if member.size_bytes > _MAX_LABEL_BYTES:
        raise _SampleError(f"{member.name} has {member.size_bytes} bytes, too many for a label")
    file.seek(member.offset)
    content = file.read(member.size_bytes)
    if "cls" in members:
        # int() would take more than digits.
        label = int(content) if re.fullmatch(rb"\s*[0-9]{1,9}\s*", content) else None
    else:
        label = _label_of_json(content)
    if label is None:
        wanted = "" if "cls" in members else f" as its {' or '.join(_LABEL_FIELDS)}"
        raise _SampleError(f"{member.name} holds no label, a number from 0 on{wanted}")
    if label >= _MAX_CLASSES:
        raise _SampleError(f"{member.name} holds {label}, where {_MAX_CLASSES} classes are most")
    return label


def _label_of_json(content: bytes) -> int | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    values = (document.get(name) for name in _LABEL_FIELDS)
    # True is an int, too.
    return next((value for value in values if type(value) is int and value >= 0), None)
