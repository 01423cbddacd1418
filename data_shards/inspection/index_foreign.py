"""A manifest for tars that were packed elsewhere, so that they can be trained on as they are."""

import fnmatch
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from data_shards.arrays import Int64s
from data_shards.errors import ForeignSetError
from data_shards.inspection.foreign_tar import (
    IndexedTar,
    IndexerSetup,
    Progressed,
    TarDone,
    TarTask,
)
from data_shards.manifest import (
    MANIFEST_NAME,
    MAX_SKIPPED_IMAGES,
    ClassEntry,
    FileName,
    Manifest,
    Packing,
    ShardEntry,
    SkippedImage,
    SplitName,
)
from data_shards.packing.folder_lock import held_folder, locked
from data_shards.packing.statistics import PixelSums
from data_shards.processes.worker_pool import WorkerPool
from data_shards.shards.grouping import INDEXED_KIND
from data_shards.shards.index import LABEL, OFFSET, SHARD
from data_shards.shards.labelled_images import where_labels_are
from data_shards.shards.labels import Label, number_classes
from data_shards.shards.sidecars import INDEX_NAME, MEAN_IMAGE_NAME, save_sidecar
from data_shards.storage.folder import Folder
from data_shards.storage.location import is_url

_FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)
_SPLIT_NAME: TypeAdapter[str] = TypeAdapter(SplitName)


@dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """What is indexed, and how."""

    folder: Folder
    split: str
    image_size: int
    label_field: str | None
    """Of KEY.json; None: KEY.cls is the label."""
    classes: tuple[ClassEntry, ...] | None
    """None: as the labels tell."""
    statistics_limit: int | None
    """Images that mean and PCA are made of; None: all."""
    seed: int
    leave_out_refused: bool
    """Index the tars that can be, where some cannot."""

    def __post_init__(self) -> None:
        try:
            _SPLIT_NAME.validate_python(self.split)
        except ValidationError:
            raise ForeignSetError(
                f"{self.split!r} is no name for a split; use up to 40 of a-z, 0-9, - and _"
            ) from None


@dataclass(frozen=True)
class IndexReport:
    """What came of it."""

    manifest: Manifest
    num_counted: int
    """Images that mean and PCA are made of."""
    refused: dict[str, str]
    """Why, by tar."""


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Hold a folder against others of this machine that pack into it or index it.

    Raises PackError while another process does, or StorageError.
    """
    place = held_folder(folder.location)
    if is_url(folder.location):
        place.mkdir(parents=True, exist_ok=True)
    elif not folder.names():
        # Nothing to write beside; perhaps no folder to hold.
        yield
        return
    with locked(place, folder.location):
        yield


def tars_to_index(folder: Folder, pattern: str, *, force: bool) -> dict[str, int]:
    """Return the size of each tar whose name is as the pattern, of a shell, in their names' order.

    Raises ForeignSetError if there are none, if one has a name that no manifest can tell, or if,
    without `force`, files would be replaced.
    """
    names = folder.names()
    tars = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not tars:
        raise ForeignSetError(_none_found(folder.location, pattern, names))
    for name in tars:
        try:
            _FILE_NAME.validate_python(name)
        except ValidationError:
            raise ForeignSetError(
                f"{folder.at(name)} has a name that no manifest can tell; rename it to at most 200 "
                "letters, digits, and . _ - after the first"
            ) from None
    present = [name for name in (MANIFEST_NAME, INDEX_NAME, MEAN_IMAGE_NAME) if name in names]
    if present and not force:
        raise ForeignSetError(
            f"{folder.location} holds {', '.join(present)} already; index with --force to replace "
            f"{'it' if len(present) == 1 else 'them'}"
        )
    return {name: folder.size(name) for name in tars}


def index_foreign(
    request: IndexRequest,
    tars: dict[str, int],
    *,
    num_processes: int,
    on_progress: Callable[[int, int], None],
) -> IndexReport:
    """Look through tars, by name and size, and write the manifest and what belongs beside it.

    `on_progress` hears of each few bytes, each of them twice, and of samples: as the tars are read,
    and as they are looked through. The manifest is written last.
    Raises ForeignSetError if tars are refused (unless told to leave them out), or hold nothing to
    train on; StorageError.
    """
    done = _look_through(request, tars, num_processes, on_progress)
    refused = {each.tar.name: each.refused for each in done if each.refused is not None}
    if refused and not request.leave_out_refused:
        raise ForeignSetError(_refusal(request.folder, refused))
    taken = [each.tar for each in done if each.refused is None]
    full = [tar for tar in taken if len(tar.rows)]
    sums = PixelSums.zero(request.image_size)
    for each in done:
        sums.add(each.sums)
    if not full or sums.num_images == 0:
        raise ForeignSetError(_nothing_found(request, taken))
    labels = {label for tar in full for label in tar.labels}
    classes, number_of = number_classes(labels, request.classes)
    with tempfile.TemporaryDirectory(prefix="data_shards-") as name:
        here = Path(name)
        manifest = Manifest(
            split=request.split,
            encoding="jpeg",
            image_size=request.image_size,
            squared=all(tar.all_squared for tar in full),
            num_samples=sum(len(tar.rows) for tar in full),
            classes=classes,
            shards=tuple(_entry(tar) for tar in full),
            index=save_sidecar(here, INDEX_NAME, _index(full, number_of)),
            mean_image=save_sidecar(here, MEAN_IMAGE_NAME, sums.mean_image()),
            rgb_pca=sums.rgb_pca(),
            packing=_packing(request, taken, refused),
        )
        # Without its manifest a set does not exist, with it the rest must be there.
        request.folder.delete(MANIFEST_NAME)
        for entry in (manifest.index, manifest.mean_image):
            request.folder.put(here / entry.name, entry.name)
    request.folder.put_bytes(manifest.to_json().encode(), MANIFEST_NAME)
    return IndexReport(manifest, sums.num_images, refused)


def shares_of(limit: int, sizes: Sequence[int]) -> list[int]:
    """Divide `limit` among tars by their sizes, none of which is 0, to the unit."""
    total = sum(sizes)
    bounds = [limit * end // total for end in np.cumsum(sizes).tolist()]
    return [end - begin for begin, end in pairwise([0, *bounds])]


def _look_through(
    request: IndexRequest,
    tars: dict[str, int],
    num_processes: int,
    on_progress: Callable[[int, int], None],
) -> list[TarDone]:
    """Return what is in each tar, in the order of their names."""
    done: list[TarDone] = []
    setup = IndexerSetup(
        request.folder.location, request.image_size, request.label_field, request.seed
    )
    with WorkerPool(setup.open, num_processes=min(num_processes, len(tars))) as pool:
        for answer in pool.share(_tasks(request, tars), last=TarDone):
            if isinstance(answer, Progressed):
                on_progress(answer.size_bytes, answer.num_samples)
            else:
                done.append(answer)
    return sorted(done, key=lambda each: each.tar.name)


def _tasks(request: IndexRequest, tars: dict[str, int]) -> Iterator[TarTask]:
    limit = request.statistics_limit
    # An empty file is no tar, and will be refused.
    sizes = [max(size, 1) for size in tars.values()]
    shares = [None] * len(sizes) if limit is None else shares_of(limit, sizes)
    for number, (name, share) in enumerate(zip(tars, shares, strict=True)):
        yield TarTask(name, number, share)


def _entry(tar: IndexedTar) -> ShardEntry:
    return ShardEntry(
        name=tar.name, num_samples=len(tar.rows), size_bytes=tar.size_bytes, sha256=tar.sha256
    )


def _index(tars: Sequence[IndexedTar], number_of: dict[Label, int]) -> Int64s:
    """Return the index, int64 (num_samples, 4): shard, offset, size, label."""
    counts = [len(tar.rows) for tar in tars]
    index = np.empty((sum(counts), 4), dtype=np.int64)
    index[:, SHARD] = np.repeat(np.arange(len(tars)), counts)
    index[:, OFFSET:] = np.concatenate([tar.rows for tar in tars])
    # Each tar's own numbers of its labels -> those of the classes
    index[:, LABEL] = np.concatenate(
        [np.array([number_of[label] for label in tar.labels])[tar.rows[:, 2]] for tar in tars]
    )
    return index


def _packing(request: IndexRequest, tars: Sequence[IndexedTar], refused: dict[str, str]) -> Packing:
    digest = sha256()
    for tar in tars:
        digest.update(f"{tar.name}\0{tar.sha256}\0".encode())
    skipped = sum((tar.skipped for tar in tars), Counter[str]())
    images = [
        *(SkippedImage(path=name, reason=f"refused: {why}") for name, why in refused.items()),
        *(SkippedImage(path=tar.name, reason="no_samples") for tar in tars if not len(tar.rows)),
        *(image for tar in tars for image in tar.skipped_images),
    ]
    return Packing(
        source=INDEXED_KIND,
        source_sha256=digest.hexdigest(),
        seed=request.seed,
        samples_per_shard=max(len(tar.rows) for tar in tars),
        quality=None,
        limit=None,
        skipped=dict(sorted(skipped.items())),
        skipped_images=tuple(images[:MAX_SKIPPED_IMAGES]),
    )


def _none_found(where: str, pattern: str, names: Sequence[str]) -> str:
    if not names:
        return f"{where} does not exist, or holds no files; name the folder of the tars"
    packed = [name for name in names if re.search(r"\.(tar\.\w+|tgz)$", name)]
    if packed:
        return (
            f"{where} holds compressed tars such as {packed[0]}, in which no image can be found by "
            "its place; uncompress them first"
        )
    return f"{where} holds no {pattern}; name the folder of the tars, or others with --tars"


def _refusal(folder: Folder, refused: dict[str, str]) -> str:
    shown = [f"{folder.at(name)} {why}" for name, why in refused.items()]
    return (
        f"{'a tar is' if len(shown) == 1 else f'{len(shown)} tars are'} refused: "
        f"{'; '.join(shown)}; mend or remove "
        f"{'it' if len(shown) == 1 else 'them'}, or index the rest with --leave-out-refused"
    )


def _nothing_found(request: IndexRequest, tars: Sequence[IndexedTar]) -> str:
    skipped = sum((tar.skipped for tar in tars), Counter[str]())
    why = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return (
        f"the tars in {request.folder.location} hold no samples of KEY.jpg (or .png, .webp) and "
        f"{where_labels_are(request.label_field)}: {why or 'they are empty'}; labels may lie in "
        "another place, see --label-field"
    )
