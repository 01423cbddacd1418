"""A folder that holds a folder of images for each class."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from data_shards.errors import SourceError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.manifest import ClassEntry
from data_shards.sources.source import Reference, Source, printable

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)
# What data sets call the folders of their splits.
_SPLIT_FOLDERS = frozenset({"train", "val", "validation", "test"})
_SYNSET = re.compile(r"n\d{8}")
# Assumed: more than any image needs that has not too many pixels.
MAX_FILE_BYTES = 1 << 30


def folder_of_split(folder: Path, split: str) -> Path:
    """Return the folder of a split below `folder`, or `folder` itself if it has none."""
    names = [split, "val"] if split == "validation" else [split]
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    subfolders = _subfolders(folder)
    splits = [name for name in subfolders if name.lower() in _SPLIT_FOLDERS]
    # One among others may be a class: there are pictures of trains.
    if splits and (len(splits) > 1 or splits == subfolders):
        raise SourceError(
            f"{folder} has no folder {' or '.join(names)}, but {', '.join(splits)}, which look "
            "like splits and not like classes; choose one of them with --split, or name the "
            "folder of the class folders itself"
        )
    return folder


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


@dataclass(frozen=True)
class _FileReader:
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


def open_image_folder(root: Path) -> Source:
    """List a folder of class folders. Raises SourceError, which says what is missing."""
    names = _subfolders(root)
    if not names:
        raise SourceError(f"{root} has no folders; it must hold one for each class")
    for name in names:
        if (readable := printable(name)) != name:
            raise SourceError(f"{root} has a class {readable}, whose name is not UTF-8; rename it")
    samples = [
        (os.path.relpath(path, root), label)
        for label, name in enumerate(names)
        for path in _images_below(root / name)
    ]
    if not samples:
        raise SourceError(
            f"the {len(names)} folders in {root} hold no images "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}); is it one level too high or too low?"
        )
    classes = tuple(
        ClassEntry(name=name, synset=name if _SYNSET.fullmatch(name) else None) for name in names
    )
    digest = _listing_sha256(root, samples)
    return Source("image-folder", classes, samples, digest, _FileReader(root))


def _listing_sha256(root: Path, samples: Sequence[tuple[str, int]]) -> str:
    """Digest path and size of every image: quick, and the same for every copy of the folder.

    An image that changed without changing its size escapes it.
    """
    digest = sha256()
    for path, _ in samples:
        try:
            size = str((root / path).stat().st_size)
        except OSError:
            # A broken link; who packs it will hear.
            size = "absent"
        # No path holds a NUL.
        digest.update(os.fsencode(path) + f"\0{size}\0".encode())
    return digest.hexdigest()


def _images_below(folder: Path) -> Iterator[str]:
    """Yield images of a class, sorted, so that the order does not depend on the file system."""
    for where, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if suffix in IMAGE_SUFFIXES and not name.startswith("."):
                yield f"{where}/{name}"


def _refuse(error: OSError) -> None:
    """Have os.walk raise, which by itself passes over what it cannot list."""
    raise error
