"""Fashion-MNIST: the idx files it is distributed as."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from data_shards.arrays import Pixels
from data_shards.errors import SourceError
from data_shards.manifest import ClassEntry
from data_shards.sources.idx import find_idx, read_idx
from data_shards.sources.source import Reference, Source

# Its own order; split -> prefix of its files.
CLASSES = (
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
_PREFIXES = {"train": "train", "validation": "t10k", "val": "t10k"}


@dataclass(frozen=True)
class _IdxReader:
    path: Path

    @cached_property
    def images(self) -> Pixels:
        """(N, 28, 28), read when the first image is wanted."""
        return read_idx(self.path, num_dimensions=3)

    def read(self, reference: Reference) -> Pixels:
        assert isinstance(reference, int), "as the source listed it"
        return np.asarray(self.images[reference])


def is_fashion_mnist(folder: Path) -> bool:
    """Tell whether a folder holds images of its kind."""
    return any(find_idx(folder, f"{prefix}-images-idx3-ubyte") for prefix in _PREFIXES.values())


def open_fashion_mnist(folder: Path, split: str) -> Source:
    """List a split. Raises SourceError, which says what is missing."""
    if split not in _PREFIXES:
        raise SourceError(f"Fashion-MNIST has no split {split!r}; choose {' or '.join(_PREFIXES)}")
    prefix = _PREFIXES[split]
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
    if (unknown := numbers >= len(CLASSES)).any():
        first = int(unknown.argmax())
        raise SourceError(
            f"{labels} gives image {first} the label {numbers[first]}, where the classes are "
            f"0 to {len(CLASSES) - 1}; fetch it again"
        )
    samples = list(enumerate(numbers.tolist()))
    classes = tuple(ClassEntry(name=name) for name in CLASSES)
    digest = sha256(pixels.data)
    digest.update(numbers.data)
    return Source("fashion-mnist", classes, samples, digest.hexdigest(), _IdxReader(images))
