"""What can be packed: a folder of class folders, or Fashion-MNIST's idx files."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    loader: SquareLoader


def open_source(folder: Path, split: str) -> Source:
    """Find out what a folder holds and list it. Raises SourceError, which says what is missing."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name one that holds a folder for each class")
    if any(find_idx(folder, f"{p}-images-idx3-ubyte") for p in FASHION_MNIST_PREFIXES.values()):
        return _fashion_mnist(folder, split)
    return _image_folder(folder / split if (folder / split).is_dir() else folder)


@dataclass(frozen=True)
class _FileLoader:
    root: Path

    def load(self, reference: Reference, size: int) -> Pixels:
        return load_square(self.root / str(reference), size)


def _image_folder(root: Path) -> Source:
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise SourceError(f"{root} has no folders; it must hold one for each class")
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
    return Source("image-folder", classes, samples, _FileLoader(root))


def _images_below(folder: Path) -> Iterator[str]:
    """Yield images of a class, sorted, so that the order does not depend on the file system."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if suffix in IMAGE_SUFFIXES and not name.startswith("."):
                yield f"{where}/{name}"


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
    samples = list(enumerate(read_idx(labels, num_dimensions=1).tolist()))
    classes = tuple(ClassEntry(name=name) for name in FASHION_MNIST_CLASSES)
    return Source("fashion-mnist", classes, samples, _IdxLoader(images))
