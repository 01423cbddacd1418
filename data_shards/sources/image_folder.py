"""A folder that holds a folder of images for each class."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_shards.errors import SourceError
from data_shards.images.skip import MAX_FILE_BYTES, SkippedImageError, SkipReason
from data_shards.sources.class_names import class_entries, read_synset_words
from data_shards.sources.image_paths import (
    IMAGE_SUFFIXES,
    choose_split,
    is_ignored,
    is_image,
    refuse_odd_classes,
)
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import Reference, Source
from data_shards.storage.local_folder import LocalFolder


def folder_of_split(folder: Path, split: str) -> Path:
    """Return the folder of a split below `folder`; if it has none, the one of the class folders.

    That is `folder` itself, or the one folder in it, as archives are often unpacked.
    """
    while True:
        subfolders = folders_of_images(folder)
        name = choose_split(subfolders, split, str(folder))
        if name is not None:
            return folder / name
        if len(subfolders) != 1:
            return folder
        if any(is_image(each.name) for each in (folder / subfolders[0]).iterdir()):
            return folder
        folder /= subfolders[0]


def folders_of_images(folder: Path) -> list[str]:
    """Return the names of the folders in a folder below which images lie, sorted.

    Others are no classes, as they are none in a tar, which may not even hold them.
    """
    return [name for name in _folders(folder) if any(True for _ in _images_below(folder, name))]


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as scanned:
        return sorted(each.name for each in scanned if not is_ignored(each.name) and each.is_dir())


@dataclass(frozen=True)
class FileReader:
    """Reads whole files below a folder."""

    root: Path

    def read(self, reference: Reference) -> bytes:
        """Read at once, so that what fails later is the decoder alone."""
        path = self.root / str(reference)
        try:
            if not path.is_file():
                # A pipe or a device would be waited for, for ever.
                raise SkippedImageError(SkipReason.UNREADABLE)
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SkippedImageError(SkipReason.TOO_MANY_BYTES)
            return path.read_bytes()
        except OSError as error:
            raise SourceError(
                f"{path} cannot be read: {error.strerror or error}; mend that, or take the file "
                "away"
            ) from error


def open_image_folder(root: Path, words: Mapping[str, str] | None = None) -> Source:
    """List a folder of class folders. Raises SourceError, which says what is missing.

    The words of synsets are told by a file in it, or beside it, if they are not given.
    """
    names = folders_of_images(root)
    if not names:
        raise SourceError(
            f"the {len(_folders(root))} folders in {root} hold no images "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}); it must hold one for each class: is it one "
            "level too high or too low?"
        )
    refuse_odd_classes(names, str(root))
    # A class's images by path, so that the order does not depend on the file system.
    images = (
        ListedImage(path, label, file_size(root / path))
        for label, name in enumerate(names)
        for path in sorted(_images_below(root, name))
    )
    samples = Listing(images, None)
    if words is None:
        words = read_synset_words(LocalFolder(root)) or read_synset_words(LocalFolder(root.parent))
    return Source(
        kind="image-folder",
        classes=class_entries(names, words),
        samples=samples,
        # A path tells its label.
        sha256=samples.sha256(with_labels=False),
        reader=FileReader(root),
    )


def file_size(path: Path) -> int:
    """Return the size of an image in bytes, as it is listed."""
    try:
        return path.stat().st_size
    except OSError:
        # A broken link; who packs it will hear.
        return 0


def _images_below(root: Path, name: str) -> Iterator[str]:
    """Yield the paths, below the root, of a class's images."""
    for where, folders, files in os.walk(root / name, onerror=_refuse):
        folders[:] = [name for name in folders if not is_ignored(name)]
        below = os.path.relpath(where, root)
        yield from (f"{below}/{file}" for file in files if is_image(file))


def _refuse(error: OSError) -> None:
    """Have os.walk raise, which by itself passes over what it cannot list."""
    raise error
