"""What a packing process does: make one shard after another, or take it from an earlier run."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_shards.errors import SourceError
from data_shards.images.encode import encode_jpeg
from data_shards.images.original import original_of
from data_shards.images.skip import SkippedImageError
from data_shards.images.square import square_of
from data_shards.manifest import MAX_SKIPPED_IMAGES, SkippedImage
from data_shards.packing.record import PackedShard, read_record, record_name, write_record
from data_shards.packing.request import ShardTask
from data_shards.packing.shard_writer import ShardWriter
from data_shards.packing.shortage import sharing_the_machine, writing
from data_shards.packing.statistics import PixelSums
from data_shards.packing.target import ShardPlaces
from data_shards.processes.memory import peak_memory_bytes
from data_shards.processes.worker import Handler
from data_shards.shards.tar_index import SUFFIX_OF_ENCODING
from data_shards.sources.source import ImageReader, Reference, printable
from data_shards.storage.folder import open_folder

# Between two signs of life; an orphan notices no sooner that nobody listens.
_REPORT_INTERVAL_S = 0.1
# Tars are written in pieces of 10 kB, and read again in pieces of this.
_BUFFER_BYTES = 1 << 20
# More than the sums of the largest squares take.
_MAX_RECORD_BYTES = 1 << 30


@dataclass(frozen=True)
class ImagesDone:
    """So many more images were packed or skipped."""

    count: int


@dataclass(frozen=True)
class ShardDone:
    """A shard, which may have no samples at all, and what its pixels add to the statistics."""

    shard: PackedShard
    sums: PixelSums
    taken: bool
    """Whether an earlier run made it."""
    peak_memory_bytes: int
    """The most that this process has held so far."""


@dataclass(frozen=True)
class PackerSetup:
    """What a packer must know before its first task; `open` is what its process runs."""

    reader: ImageReader
    places: ShardPlaces
    request_sha256: str
    size: int
    encoding: Literal["jpeg", "raw"]
    quality: int
    squared: bool

    def open(self) -> Handler:
        """Return the handler of a new packer's tasks."""
        return _Packer(self).pack


class _Packer:
    def __init__(self, setup: PackerSetup) -> None:
        self._setup = setup
        self._suffix = SUFFIX_OF_ENCODING[setup.encoding]
        self._finished = open_folder(setup.places.finished)
        self._records = open_folder(setup.places.records)

    def pack(self, task: ShardTask) -> Iterator[ImagesDone | ShardDone]:
        """Make one shard. Raises SourceError, or PackError if it cannot be written."""
        with sharing_the_machine():
            yield from self._pack(task)

    def _pack(self, task: ShardTask) -> Iterator[ImagesDone | ShardDone]:
        if (known := self._known(task.name)) is not None:
            yield ShardDone(*known, taken=True, peak_memory_bytes=peak_memory_bytes())
            return
        path = self._setup.places.growing / task.name
        sums = PixelSums.zero(self._setup.size)
        skipped: list[SkippedImage] = []
        with writing(path), path.open("wb", buffering=_BUFFER_BYTES) as file:
            with ShardWriter(file, self._suffix) as writer:
                yield from self._write(writer, task, sums, skipped)
            file.flush()
            os.fsync(file.fileno())
        shard = PackedShard(
            name=task.name,
            rows=writer.rows,
            size_bytes=writer.size_bytes,
            sha256=writer.sha256,
            skipped=Counter(image.reason for image in skipped),
            skipped_images=tuple(skipped[:MAX_SKIPPED_IMAGES]),
        )
        self._keep(path, shard, sums)
        yield ShardDone(shard, sums, taken=False, peak_memory_bytes=peak_memory_bytes())

    def _known(self, name: str) -> tuple[PackedShard, PixelSums] | None:
        """Return what an earlier run knew of a shard, if it is there, whole."""
        try:
            content = self._records.read_bytes(record_name(name), _MAX_RECORD_BYTES)
            known = read_record(content, name, self._setup.request_sha256)
            if known is None:
                return None
            shard, _ = known
            if len(shard.rows) == 0:
                return known
            with self._finished.open(name) as file:
                digest = hashlib.sha256()
                while piece := file.read(_BUFFER_BYTES):
                    digest.update(piece)
        except FileNotFoundError:
            return None
        return known if digest.hexdigest() == shard.sha256 else None

    def _keep(self, path: Path, shard: PackedShard, sums: PixelSums) -> None:
        """Have the next run find the shard: its record is written when it is whole, itself too."""
        if self._setup.places.finished != str(self._setup.places.growing):
            # One without samples is no part of the set.
            if len(shard.rows):
                self._finished.put(path, shard.name)
            with writing(path):
                path.unlink()
        record = write_record(shard, sums, self._setup.request_sha256)
        self._records.put_bytes(record, record_name(shard.name))

    def _write(
        self, writer: ShardWriter, task: ShardTask, sums: PixelSums, skipped: list[SkippedImage]
    ) -> Iterator[ImagesDone]:
        unreported, reported_at = 0, time.monotonic()
        for place, (reference, label) in enumerate(task.samples):
            try:
                data = self._stored(reference, sums)
            except SkippedImageError as error:
                path = printable(str(reference))
                skipped.append(SkippedImage(path=path, reason=error.reason))
            else:
                writer.add(f"{task.first_key + place:09d}", label, data)
            unreported += 1
            if time.monotonic() - reported_at > _REPORT_INTERVAL_S:
                yield ImagesDone(unreported)
                unreported, reported_at = 0, time.monotonic()
        yield ImagesDone(unreported)

    def _stored(self, reference: Reference, sums: PixelSums) -> bytes:
        """Return an image as it is stored, and count it in the sums."""
        setup = self._setup
        try:
            image = setup.reader.read(reference)
            if not setup.squared:
                original = original_of(image, setup.size, setup.quality)
                sums.add_image(original.square)
                return original.file
            square = square_of(image, setup.size)
        except MemoryError:
            raise SourceError(
                f"there is not enough memory for {printable(str(reference))}; pack with fewer "
                "--processes"
            ) from None
        except OSError as error:
            # What readers did not foresee; no fault of the shard that is being written.
            raise SourceError(
                f"{printable(str(reference))} cannot be read: {error.strerror or error}; mend "
                "that, or take it away"
            ) from error
        # Not of what JPEG leaves of it, which would have to be decoded again
        # (docs/decisions/0009).
        sums.add_image(square)
        return square.tobytes() if setup.encoding == "raw" else encode_jpeg(square, setup.quality)
