"""WebDataset: tars whose members are samples by their names, KEY.jpg and KEY.cls."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import numpy as np

from data_shards.arrays import Int64s, Pixels
from data_shards.errors import ForeignSetError, SourceError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.manifest import MANIFEST_NAME, MAX_SKIPPED_IMAGES, Manifest, SkippedImage
from data_shards.shards.grouping import IMAGE_EXTENSIONS, group_by_key
from data_shards.shards.labelled_images import (
    LabelledImage,
    LeftOut,
    labelled_images,
    where_labels_are,
)
from data_shards.shards.labels import Label, number_classes
from data_shards.shards.sidecars import load_index
from data_shards.shards.tar_index import SUFFIX_OF_ENCODING, TarLayoutError, TarMember, walk_tar
from data_shards.sources.archive import opened_tar, tar_size
from data_shards.sources.class_names import read_classes
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.image_paths import SPLIT_NAMES, names_of_split
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import OnProgress, Reference, Source, printable
from data_shards.storage.folder import Folder
from data_shards.storage.manifests import read_manifest

# Assumed: an object store answers so many at once well; none of them waits for the processor.
_LISTED_AT_ONCE = 8
# Rows of an index that are Python objects at a time.
_ROWS_AT_ONCE = 1 << 12


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


@dataclass
class _Found:
    """What is found in tars beside where their images lie."""

    labels: dict[Label, int] = field(default_factory=dict)
    """Each with its place among those found."""
    skipped: Counter[str] = field(default_factory=Counter)
    skipped_images: list[SkippedImage] = field(default_factory=list)
    """The first of them."""

    def skip(self, tar: str, left_out: LeftOut) -> None:
        self.skipped[left_out.reason] += 1
        if len(self.skipped_images) < MAX_SKIPPED_IMAGES:
            path = printable(f"{tar}:{left_out.key}")
            self.skipped_images.append(SkippedImage(path=path, reason=left_out.reason))


def holds_samples(listed: Sequence[TarMember]) -> bool:
    """Tell by some members of a tar whether they are samples: an image and its label by one key."""
    images = {*IMAGE_EXTENSIONS, SUFFIX_OF_ENCODING["raw"]}
    try:
        return any(
            not members.keys().isdisjoint(images) and not members.keys().isdisjoint(("cls", "json"))
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


def open_packed(folder: Folder, label_field: str | None = None) -> Source:
    """List the samples of a set that has a manifest, by its index.

    Whatever the tars hold besides: if they were only indexed, others of their files may be labels,
    too. Raises SourceError, ManifestError, ShardError or StorageError.
    """
    if label_field is not None:
        raise SourceError(
            f"{folder.at(MANIFEST_NAME)} and its index tell the labels; leave out --label-field, "
            "or index the tars anew with it"
        )
    manifest = read_manifest(folder.location)
    index = load_index(folder.location, manifest)
    _check_sizes(folder, manifest)
    tars = [entry.name for entry in manifest.shards]
    samples = Listing(_indexed_images(index, tars), tars)
    reader = ExtentReader(folder.location)
    is_raw = manifest.encoding == "raw"
    return Source(
        kind="webdataset",
        classes=manifest.classes,
        samples=samples,
        sha256=samples.sha256(with_labels=True),
        reader=_RawReader(reader, manifest.image_size) if is_raw else reader,
    )


def open_webdataset(
    folder: Folder,
    tars: Sequence[str],
    classes_in: Folder,
    label_field: str | None,
    on_progress: OnProgress,
) -> Source:
    """List the samples of tars below a folder, in the order of the tars' names.

    KEY.cls is the label, or the field `label_field` of KEY.json; samples without an image or a
    label are left out. Classes have the names that classes.txt in `classes_in` tells, else those
    that the labels do. Raises SourceError.
    """
    tars, found = sorted(tars), _Found()
    listing = Listing(_images(folder, tars, label_field, found, on_progress), tars)
    if not listing:
        why = ", ".join(f"{count:,} {reason}" for reason, count in found.skipped.most_common())
        raise SourceError(
            f"the {len(tars)} tars in {folder.location} hold no samples of KEY.jpg and "
            f"{where_labels_are(label_field)}: {why or 'they are empty'}; labels may lie in "
            "another place, see --label-field; if one of the tars holds folders of images, name "
            "that tar itself"
        )
    try:
        classes, number_of = number_classes(set(found.labels), read_classes(classes_in))
    except ForeignSetError as error:
        raise SourceError(f"{folder.location}: {error}") from error
    samples = listing.relabelled(np.array([number_of[label] for label in found.labels]))
    return Source(
        kind="webdataset",
        classes=classes,
        samples=samples,
        sha256=samples.sha256(with_labels=True),
        reader=ExtentReader(folder.location),
        skipped=dict(found.skipped),
        skipped_images=tuple(found.skipped_images),
    )


def _check_sizes(folder: Folder, manifest: Manifest) -> None:
    """Raise SourceError for a tar that is gone, or is not whole."""
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        sizes = list(pool.map(partial(tar_size, folder), [each.name for each in manifest.shards]))
    for entry, size in zip(manifest.shards, sizes, strict=True):
        if size != entry.size_bytes:
            raise SourceError(
                f"{folder.at(entry.name)} has {size} bytes where the manifest says "
                f"{entry.size_bytes}; restore it, or make the set anew"
            )


def _indexed_images(index: Int64s, tars: Sequence[str]) -> Iterator[ListedImage]:
    """Yield the images of an index, int64 (num_samples, 4)."""
    for first in range(0, len(index), _ROWS_AT_ONCE):
        for shard, offset, size, label in index[first : first + _ROWS_AT_ONCE].tolist():
            # Nothing was read that tells their names.
            name = f"{tars[shard]}, byte {offset}"
            yield ListedImage(name, label, size, shard, offset)


def _images(
    folder: Folder,
    tars: Sequence[str],
    label_field: str | None,
    found: _Found,
    on_progress: OnProgress,
) -> Iterator[ListedImage]:
    """Yield the images of all tars in order, labelled as `found` numbers labels.

    Several tars are listed at a time.
    """
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        try:
            ends = list(accumulate(pool.map(partial(tar_size, folder), tars)))
            listings = pool.map(partial(_list_samples, folder, label_field), tars)
            for number, (tar, samples) in enumerate(zip(tars, listings, strict=True)):
                for each in samples:
                    if isinstance(each, LeftOut):
                        found.skip(tar, each)
                    else:
                        name, offset, size_bytes = each.image
                        label = found.labels.setdefault(each.label, len(found.labels))
                        yield ListedImage(f"{tar}/{name}", label, size_bytes, number, offset)
                on_progress(ends[number], ends[-1])
        finally:
            # Else an error in the first tar would be told only when all were listed.
            pool.shutdown(cancel_futures=True)


def _list_samples(
    folder: Folder, label_field: str | None, tar: str
) -> list[LabelledImage | LeftOut]:
    with opened_tar(folder, tar) as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return list(labelled_images(walk_tar(file), read, label_field))
