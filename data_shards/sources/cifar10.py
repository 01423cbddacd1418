"""CIFAR-10: its binary batches, in a folder or as the tar they are distributed in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from data_shards.arrays import Pixels
from data_shards.errors import SourceError
from data_shards.manifest import ClassEntry
from data_shards.sources.extent_reader import ExtentReader
from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import Extent, Reference, Source
from data_shards.storage.folder import Folder

# In the order of batches.meta.txt.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_TEST = ("test_batch.bin",)
_BATCHES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "validation": _TEST,
    "val": _TEST,
    "test": _TEST,
}
# A record is a label, then a plane for each of red, green and blue.
_EDGE = 32
_PLANES_BYTES = 3 * _EDGE * _EDGE
_RECORD_BYTES = 1 + _PLANES_BYTES
# Ten times a batch.
_MAX_BATCH_BYTES = 100_000 * _RECORD_BYTES


@dataclass(frozen=True)
class _PlanesReader:
    extents: ExtentReader

    def read(self, reference: Reference) -> Pixels:
        planes = np.frombuffer(self.extents.read(reference), dtype=np.uint8)
        # (3072,) -> (3, 32, 32) -> (32, 32, 3)
        return np.ascontiguousarray(planes.reshape(3, _EDGE, _EDGE).transpose(1, 2, 0))


def is_cifar10(names: Iterable[str]) -> bool:
    """Tell by the names of files whether they are CIFAR-10's batches, binary or pickled."""
    return not {"data_batch_1.bin", "test_batch.bin", "data_batch_1"}.isdisjoint(names)


def open_cifar10(folder: Folder, batches: Mapping[str, Extent], split: str) -> Source:
    """List a split of the batches, which lie in files of `folder`, by their names.

    Raises SourceError, which says what is missing.
    """
    if split not in _BATCHES:
        raise SourceError(f"CIFAR-10 has no split {split!r}; choose {' or '.join(_BATCHES)}")
    if "data_batch_1" in batches and "data_batch_1.bin" not in batches:
        raise SourceError(
            f"{folder.at(batches['data_batch_1'].name)} is of CIFAR-10's Python version, whose "
            "pickles could run any program when they are read, and are never loaded; fetch "
            "cifar-10-binary.tar.gz instead"
        )
    digest = sha256()
    images: list[ListedImage] = []
    files: list[str] = []
    for name in _BATCHES[split]:
        if name not in batches:
            raise SourceError(f"{folder.location} lacks {name}; fetch cifar-10-binary.tar.gz again")
        batch = batches[name]
        records = _records(folder, batch)
        digest.update(records.data)
        images += (
            ListedImage(
                name=f"{name}/{place}",
                label=label,
                size_bytes=_PLANES_BYTES,
                file=len(files),
                offset=batch.offset + place * _RECORD_BYTES + 1,
            )
            for place, label in enumerate(records[:, 0].tolist())
        )
        files.append(batch.file)
    return Source(
        kind="cifar-10",
        classes=tuple(ClassEntry(name=name) for name in CLASSES),
        samples=Listing(images, files),
        sha256=digest.hexdigest(),
        reader=_PlanesReader(ExtentReader(folder.location)),
    )


def _records(folder: Folder, batch: Extent) -> Pixels:
    """Return a batch, (N, 3073)."""
    where = folder.at(batch.name)
    if batch.size_bytes % _RECORD_BYTES or not 0 < batch.size_bytes <= _MAX_BATCH_BYTES:
        raise SourceError(
            f"{where} has {batch.size_bytes} bytes, which are not records of {_RECORD_BYTES}; "
            "fetch it again"
        )
    content = folder.read_range(batch.file, batch.offset, batch.size_bytes)
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD_BYTES)
    if (unknown := records[:, 0] >= len(CLASSES)).any():
        first = int(unknown.argmax())
        raise SourceError(
            f"{where} gives image {first} the label {records[first, 0]}, where the classes are 0 "
            f"to {len(CLASSES) - 1}; fetch it again"
        )
    return records
