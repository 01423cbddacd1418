"""What a packing process does: make one shard after another."""

import importlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from data_shards.arrays import Int64s
from data_shards.errors import SourceError, UnwritableError
from data_shards.feeding.decode import Decoder
from data_shards.images.encode import encode_jpeg
from data_shards.images.skip import SkippedImageError
from data_shards.images.square import square_of
from data_shards.manifest import MAX_SKIPPED_IMAGES, SkippedImage
from data_shards.packing.statistics import PixelSums
from data_shards.processes.worker import Handler
from data_shards.shards.sidecars import file_sha256
from data_shards.shards.tar_index import SUFFIX_OF_ENCODING, read_tar_index
from data_shards.sources.source import ImageReader, Reference, printable

# Between two signs of life; an orphan notices no sooner that nobody listens.
_REPORT_INTERVAL_S = 0.1


@dataclass(frozen=True)
class ShardTask:
    """Make one shard of these samples."""

    name: str
    first_key: int
    samples: list[tuple[Reference, int]]
    """(reference, label) of each."""


@dataclass(frozen=True)
class ImagesDone:
    """So many more images were packed or skipped."""

    count: int


@dataclass(frozen=True)
class PackedShard:
    """A shard that is complete on disk."""

    name: str
    rows: Int64s
    """(num_samples, 3) its part of the index: offset, size, label."""
    size_bytes: int
    sha256: str
    skipped: Counter[str]
    """Images left out, by reason."""
    skipped_images: list[SkippedImage]
    """The first of them."""


@dataclass(frozen=True)
class ShardDone:
    """A shard, which may have no samples at all, and what its pixels add to the statistics."""

    shard: PackedShard
    sums: PixelSums


@dataclass(frozen=True)
class PackerSetup:
    """What a packer must know before its first task; `open` is what its process runs."""

    reader: ImageReader
    folder: Path
    size: int
    encoding: Literal["jpeg", "raw"]
    quality: int

    def open(self) -> Handler:
        """Return the handler of a new packer's tasks."""
        return _Packer(self).pack


class _Packer:
    def __init__(self, setup: PackerSetup) -> None:
        self._setup = setup
        self._suffix = SUFFIX_OF_ENCODING[setup.encoding]
        self._decoder = Decoder(setup.encoding, setup.size)
        self._tar_writer = _tar_writer_class()

    def pack(self, task: ShardTask) -> Iterator[ImagesDone | ShardDone]:
        """Make one shard. Raises SourceError, or UnwritableError if it cannot be written."""
        path = self._setup.folder / task.name
        sums = PixelSums.zero(self._setup.size)
        skipped: list[SkippedImage] = []
        try:
            with path.open("wb") as file:
                yield from self._write(file, task, sums, skipped)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnwritableError(str(path), error.strerror or str(error)) from error
        samples = read_tar_index(path, self._suffix)
        shard = PackedShard(
            name=task.name,
            # [] -> (0, 3)
            rows=np.array(samples, dtype=np.int64).reshape(-1, 3),
            size_bytes=path.stat().st_size,
            sha256=file_sha256(path),
            skipped=Counter(image.reason for image in skipped),
            skipped_images=skipped[:MAX_SKIPPED_IMAGES],
        )
        yield ShardDone(shard, sums)

    def _write(
        self, file: BinaryIO, task: ShardTask, sums: PixelSums, skipped: list[SkippedImage]
    ) -> Iterator[ImagesDone]:
        unreported, reported_at = 0, time.monotonic()
        # The same bytes whoever packs, whenever: no time, no user.
        with self._tar_writer(
            file, encoder=False, mtime=0, user="root", group="root", mode=0o444
        ) as tar:
            for place, (reference, label) in enumerate(task.samples):
                try:
                    data = self._encode(reference)
                except SkippedImageError as error:
                    path = printable(str(reference))
                    skipped.append(SkippedImage(path=path, reason=error.reason))
                else:
                    # What readers will see, so JPEG's losses are in the statistics.
                    sums.add_image(self._decoder.decode(memoryview(data)))
                    key = f"{task.first_key + place:09d}"
                    tar.write({"__key__": key, "cls": str(label).encode(), self._suffix: data})
                unreported += 1
                if time.monotonic() - reported_at > _REPORT_INTERVAL_S:
                    yield ImagesDone(unreported)
                    unreported, reported_at = 0, time.monotonic()
        yield ImagesDone(unreported)

    def _encode(self, reference: Reference) -> bytes:
        try:
            image = square_of(self._setup.reader.read(reference), self._setup.size)
        except MemoryError:
            raise SourceError(
                f"there is not enough memory for {printable(str(reference))}; pack with fewer "
                "--processes"
            ) from None
        if self._setup.encoding == "raw":
            return image.tobytes()
        return encode_jpeg(image, self._setup.quality)


def _tar_writer_class() -> Any:
    """Import webdataset's writer without torch.

    webdataset works without torch, which it only looks for; finding it would cost each packing
    process seconds and hundreds of megabytes.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        # None stands for a module that cannot be imported.
        sys.modules["torch"] = cast(ModuleType, None)
    try:
        return importlib.import_module("webdataset.writer").TarWriter
    finally:
        if hidden:
            del sys.modules["torch"]
