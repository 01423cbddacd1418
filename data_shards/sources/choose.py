"""Finding out what is to be packed."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from braceexpand import braceexpand

from data_shards.errors import SourceError
from data_shards.manifest import MANIFEST_NAME
from data_shards.shards.tar_index import walk_tar
from data_shards.sources import ilsvrc2012
from data_shards.sources.archive import decompress, is_archive, is_compressed, list_tar, opened_tar
from data_shards.sources.cifar10 import is_cifar10, open_cifar10
from data_shards.sources.fashion_mnist import is_fashion_mnist, open_fashion_mnist
from data_shards.sources.image_folder import folder_of_split, folders_of_images, open_image_folder
from data_shards.sources.image_paths import names_of_split
from data_shards.sources.image_tar import open_image_tar
from data_shards.sources.kaggle import is_kaggle, open_kaggle
from data_shards.sources.source import Extent, OnProgress, Source
from data_shards.sources.webdataset import (
    holds_samples,
    open_packed,
    open_webdataset,
    tars_of_split,
)
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.location import is_url

# Assumed: enough to see what they all are.
_PEEKED_MEMBERS = 1000
# Assumed: a hundred times what ImageNet takes in common shards.
_MAX_TARS = 100_000
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})")
_CIFAR10_FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")


def _unheard(done: int, total: int) -> None:
    pass


def open_source(
    location: str | Path,
    split: str,
    *,
    label_field: str | None = None,
    scratch: Path | None = None,
    on_progress: OnProgress = _unheard,
) -> Source:
    """Find out what a location holds and list the images of a split.

    A location is a folder, an archive, or several tars as `train-{000000..000146}.tar`; on disk, or
    at a URL. What is compressed is first decompressed into the folder `scratch`, which the caller
    removes when all is packed; None: it is refused. Raises SourceError, which says what is
    missing, or StorageError.

    `label_field` is the field of KEY.json that is the label in a WebDataset; None: KEY.cls is.
    """
    source = _opened(str(location), split, label_field, scratch, on_progress)
    if label_field is not None and source.kind != "webdataset":
        raise SourceError(
            f"{location} is no WebDataset, whose KEY.json could have the field {label_field!r}; "
            "leave out --label-field"
        )
    return source


def _opened(
    text: str,
    split: str,
    label_field: str | None,
    scratch: Path | None,
    on_progress: OnProgress,
) -> Source:
    if is_url(text):
        parent, _, name = text.rstrip("/").rpartition("/")
        is_file = is_archive(name) or name == MANIFEST_NAME
        path = None
    else:
        path = Path(text)
        parent, name, is_file = str(path.parent), path.name, path.is_file()
    if "{" in text and (path is None or not path.exists()):
        return _open_pattern(text, label_field, on_progress)
    if not is_file:
        if path is not None and not path.is_dir():
            raise SourceError(
                f"{text} does not exist; name a folder of images, an archive, or the URL of tars"
            )
        return _open_folder(open_folder(text), path, split, label_field, on_progress)
    is_ilsvrc2012 = name in (ilsvrc2012.TRAIN, ilsvrc2012.VALIDATION)
    if is_ilsvrc2012 and name != ilsvrc2012.archive_of_split(split):
        raise SourceError(
            f"{text} is not the archive of {split}, which is {ilsvrc2012.archive_of_split(split)}; "
            "name that, or another --split"
        )
    if is_archive(name) and not is_ilsvrc2012:
        return _open_archive(
            open_folder(parent),
            name,
            split,
            label_field=label_field,
            scratch=scratch,
            on_progress=on_progress,
        )
    if name == MANIFEST_NAME or is_archive(name):
        # They are of no use without what lies beside them.
        beside = None if path is None else path.parent
        return _open_folder(open_folder(parent), beside, split, label_field, on_progress)
    raise SourceError(
        f"{text} is a file of a kind that cannot be packed; name a folder of images, or a tar"
    )


def _open_pattern(text: str, label_field: str | None, on_progress: OnProgress) -> Source:
    """Open the tars of a pattern such as s3://bucket/train-{000000..000146}.tar."""
    parent = text[: text.index("{")].rpartition("/")[0] or "."
    lengths = [abs(int(last) - int(first)) + 1 for first, last in _RANGE.findall(text)]
    try:
        # The package builds the whole of a range, however long.
        tars = [] if max(lengths, default=1) > _MAX_TARS else braceexpand(text)
        names = [tar.removeprefix(f"{parent}/") for tar in islice(tars, _MAX_TARS + 1)]
    except ValueError:
        raise SourceError(f"{text} does not exist, and its braces do not match") from None
    if not 0 < len(names) <= _MAX_TARS:
        raise SourceError(f"{text} stands for more than {_MAX_TARS} tars; name fewer at once")
    folder = open_folder(parent)
    source = open_webdataset(folder, names, folder, label_field, on_progress)
    return replace(source, lies_in=_folders_of(folder, names))


def _open_archive(
    folder: Folder,
    name: str,
    split: str,
    *,
    label_field: str | None,
    scratch: Path | None,
    on_progress: OnProgress,
) -> Source:
    beside, lies_in = folder, _folders_of(folder, [name])
    if is_compressed(name):
        if scratch is None:
            raise SourceError(
                f"{folder.at(name)} is compressed, and cannot be read from the middle; decompress "
                "it first"
            )
        folder = decompress(folder, name, scratch, on_progress)
    with opened_tar(folder, name) as file:
        members = list(islice(walk_tar(file), _PEEKED_MEMBERS))
    batches = {
        member.name.rpartition("/")[2]: Extent(
            f"{name}/{member.name}", name, member.offset, member.size_bytes
        )
        for member in members
    }
    if is_cifar10(batches):
        source = open_cifar10(folder, batches, split)
    elif holds_samples(members):
        source = open_webdataset(folder, [name], beside, label_field, on_progress)
    else:
        listed = list_tar(folder, name, on_progress)
        source = open_image_tar(folder, name, listed, split, beside)
    return replace(source, lies_in=lies_in)


def _open_folder(
    folder: Folder,
    path: Path | None,
    split: str,
    label_field: str | None,
    on_progress: OnProgress,
) -> Source:
    """Open a folder; `path` is where it lies if it is on disk."""
    source = _open_named(folder, path, split, on_progress) or _open_tars(
        folder, path, split, label_field, on_progress
    )
    if source is not None:
        return source
    if archives := [name for name in folder.names() if is_compressed(name)]:
        raise SourceError(
            f"{folder.location} holds archives; name the one to pack itself: "
            f"{', '.join(folder.at(name) for name in archives[:5])}"
        )
    if path is None:
        raise SourceError(
            f"{folder.location} holds no tars; images at a URL can be packed from tars alone"
        )
    root = folder_of_split(path, split)
    return replace(open_image_folder(root), lies_below=(str(path), str(root)))


def _open_named(
    folder: Folder, path: Path | None, split: str, on_progress: OnProgress
) -> Source | None:
    """Open a data set that is known by the names of its files; None if it is none."""
    names = folder.names()
    if ilsvrc2012.TRAIN in names or ilsvrc2012.VALIDATION in names:
        source = ilsvrc2012.open_ilsvrc2012(folder, split, on_progress)
        return replace(source, lies_in=_folders_of(folder, names))
    if path is not None and is_kaggle(path):
        return replace(open_kaggle(path, split), lies_below=(str(path / "ILSVRC"),))
    if path is not None and is_fashion_mnist(path):
        return replace(open_fashion_mnist(path, split), lies_in=_folders_of(folder, names))
    for part in _parts(folder, path, _CIFAR10_FOLDERS):
        if is_cifar10(files := part.names()):
            batches = {name: Extent(name, name, 0, part.size(name)) for name in files}
            return replace(open_cifar10(part, batches, split), lies_in=_folders_of(part, files))
    return None


def _open_tars(
    folder: Folder,
    path: Path | None,
    split: str,
    label_field: str | None,
    on_progress: OnProgress,
) -> Source | None:
    """Open the tars in a folder, or in one of the split below; None without any."""
    for part in _parts(folder, path, names_of_split(split)):
        files = part.names()
        if tars := tars_of_split(files, split, part.location):
            lies_in = _folders_of(part, tars)
            if MANIFEST_NAME in files:
                return replace(open_packed(part, label_field), lies_in=lies_in)
            if path is not None and (classes := folders_of_images(Path(part.location))):
                raise SourceError(
                    f"{part.location} holds tars, such as {tars[0]}, and folders of images, such "
                    f"as {classes[0]}; name the tars themselves, or take them away to pack the "
                    "folders"
                )
            return replace(
                open_webdataset(part, tars, part, label_field, on_progress), lies_in=lies_in
            )
    return None


def _folders_of(folder: Folder, names: Sequence[str]) -> tuple[str, ...]:
    """Return the folders that these files of a folder lie in, wherever links lead."""
    if is_url(folder.location):
        files = [folder.at(name) for name in names]
    else:
        files = [str(Path(folder.at(name)).resolve()) for name in names]
    return tuple({folder.location, *(file.rpartition("/")[0] for file in files)})


def _parts(folder: Folder, path: Path | None, below: Iterable[str]) -> Iterator[Folder]:
    """Yield a folder, and those of these names below it; at a URL they may not exist."""
    yield folder
    for name in below:
        if path is None or (path / name).is_dir():
            yield open_folder(folder.at(name))
