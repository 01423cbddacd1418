"""What can be packed: a folder of class folders, or Fashion-MNIST's idx files."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from data_shards.decode import Pixels
from data_shards.errors import SourceError
from data_shards.idx import find_idx, read_idx
from data_shards.images import load_square, square
from data_shards.manifest import ClassEntry

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)
# What data sets call the folders of their splits.
_SPLIT_FOLDERS = frozenset({"train", "val", "validation", "test"})
_SYNSET = re.compile(r"n\d{8}")

# Its own order; split -> prefix of its files.
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MNIST_PREFIXES = {"train": "train", "validation": "t10k"}

# What a loader needs to find an image: a path below its root, or a place in its array.
Reference = str | int


class SquareLoader(Protocol):
    """Reads images in a packing process; picklable."""

    def load(self, reference: Reference, size: int) -> Pixels:
        """Return uint8 (size, size, 3), RGB. Raises SkippedImageError."""


@dataclass(frozen=True)
class Source:
    """A labelled set of images."""

    kind: Literal["image-folder", "fashion-mnist"]
    classes: tuple[ClassEntry, ...]
    samples: Sequence[tuple[Reference, int]]
    """(reference, label) of each, in an order of its own."""
    sha256: str
    """Tells it from other sources of its kind; the manifest's Packing says what is digested."""
    loader: SquareLoader


def open_source(folder: Path, split: str) -> Source:
    """Find out what a folder holds and list it. Raises SourceError, which says what is missing."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name one that holds a folder for each class")
    if any(find_idx(folder, f"{p}-images-idx3-ubyte") for p in FASHION_MNIST_PREFIXES.values()):
        return _fashion_mnist(folder, split)
    return _image_folder(_folder_of_split(folder, split))


def _folder_of_split(folder: Path, split: str) -> Path:
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
class _FileLoader:
    root: Path

    def load(self, reference: Reference, size: int) -> Pixels:
        return load_square(self.root / str(reference), size)


def _image_folder(root: Path) -> Source:
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
    return Source("image-folder", classes, samples, digest, _FileLoader(root))


def printable(name: str) -> str:
    """Return a file's name with the bytes escaped that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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


@dataclass(frozen=True)
class _IdxLoader:
    path: Path

    @cached_property
    def images(self) -> Pixels:
        """(N, 28, 28), read when the first image is wanted."""
        return read_idx(self.path, num_dimensions=3)

    def load(self, reference: Reference, size: int) -> Pixels:
        return square(Image.fromarray(self.images[int(reference)]), size)


def _fashion_mnist(folder: Path, split: str) -> Source:
    if split not in FASHION_MNIST_PREFIXES:
        raise SourceError(
            f"Fashion-MNIST has no split {split!r}; choose {' or '.join(FASHION_MNIST_PREFIXES)}"
        )
    prefix = FASHION_MNIST_PREFIXES[split]
    images = find_idx(folder, f"{prefix}-images-idx3-ubyte")
    labels = find_idx(folder, f"{prefix}-labels-idx1-ubyte")
    if images is None or labels is None:
        raise SourceError(
            f"{folder} lacks {prefix}-images-idx3-ubyte or {prefix}-labels-idx1-ubyte"
        )
    pixels, numbers = read_idx(images, num_dimensions=3), read_idx(labels, num_dimensions=1)
    if pixels.shape != (len(numbers), 28, 28):
        raise SourceError(
            f"{images} holds images of shape {pixels.shape}, where {labels} wants "
            f"{(len(numbers), 28, 28)}; fetch both again"
        )
    if (unknown := numbers >= len(FASHION_MNIST_CLASSES)).any():
        first = int(unknown.argmax())
        raise SourceError(
            f"{labels} gives image {first} the label {numbers[first]}, where the classes are "
            f"0 to {len(FASHION_MNIST_CLASSES) - 1}; fetch it again"
        )
    samples = list(enumerate(numbers.tolist()))
    classes = tuple(ClassEntry(name=name) for name in FASHION_MNIST_CLASSES)
    digest = sha256(pixels.data)
    digest.update(numbers.data)
    return Source("fashion-mnist", classes, samples, digest.hexdigest(), _IdxLoader(images))
