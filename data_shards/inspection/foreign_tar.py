"""What an indexing process does: list, digest and look through one foreign tar after another."""

import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import simplejpeg

from data_shards.arrays import Int64s
from data_shards.feeding.corrupt import CorruptImageError
from data_shards.feeding.decode import Decoder, corrupt_of
from data_shards.images.image_file import open_image
from data_shards.images.skip import SkippedImageError
from data_shards.inspection.digested_shard import DigestedShard
from data_shards.inspection.stored_image import decode_stored
from data_shards.manifest import MAX_SKIPPED_IMAGES, SkippedImage
from data_shards.order import packing_order
from data_shards.packing.statistics import PixelSums
from data_shards.processes.worker import Handler
from data_shards.shards.labelled_images import LabelledImage, LeftOut, labelled_images
from data_shards.shards.labels import Label
from data_shards.shards.tar_index import TarLayoutError, walk_tar
from data_shards.sources.source import printable
from data_shards.storage.folder import open_folder

# Between two signs of life; an orphan notices no sooner that nobody listens.
_REPORT_INTERVAL_S = 0.1
_JPEG_MAGIC = b"\xff\xd8\xff"
# Those of four channels must be converted by more than a JPEG decoder.
_PLAIN_COLOURS = ("Gray", "RGB", "YCbCr")


@dataclass(frozen=True)
class TarTask:
    """Index one tar."""

    name: str
    number: int
    """Among the tars; draws which of its images count in the statistics."""
    num_counted: int | None
    """Images that count in the statistics; None: all."""


@dataclass(frozen=True)
class Progressed:
    """So many more bytes were read, or looked through for so many more samples.

    All bytes of a tar are counted twice, once for each.
    """

    size_bytes: int
    num_samples: int


@dataclass
class IndexedTar:
    """What is in a tar."""

    name: str
    size_bytes: int = 0
    sha256: str = ""
    rows: Int64s = field(default_factory=lambda: np.empty((0, 3), dtype=np.int64))
    """(num_samples, 3) offset and size of each image, and which of `labels` is the sample's."""
    labels: tuple[Label, ...] = ()
    """Those there are, each once."""
    all_squared: bool = True
    """Whether every image is a plain JPEG of the size asked for."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Samples left out, by reason."""
    skipped_images: list[SkippedImage] = field(default_factory=list)
    """The first of them."""

    def skip(self, key: str, reason: str) -> None:
        """Leave a sample out."""
        self.skipped[reason] += 1
        if len(self.skipped_images) < MAX_SKIPPED_IMAGES:
            path = printable(f"{self.name}:{key}")
            self.skipped_images.append(SkippedImage(path=path, reason=reason))


@dataclass(frozen=True)
class TarDone:
    """A tar was looked through, or refused."""

    tar: IndexedTar
    sums: PixelSums
    refused: str | None
    """Why it cannot be trusted; None: it can."""


@dataclass(frozen=True)
class IndexerSetup:
    """What an indexing process must know before its first tar."""

    location: str
    """Of the tars' folder."""
    image_size: int
    label_field: str | None
    seed: int

    def open(self) -> Handler:
        """Return the handler of a new indexer's tasks."""
        return _Indexer(self).index


class _Indexer:
    def __init__(self, setup: IndexerSetup) -> None:
        self._setup = setup
        self._folder = open_folder(setup.location)
        self._decoder = Decoder("jpeg", setup.image_size, squared=False)
        self._max_squared_bytes = Decoder("jpeg", setup.image_size).max_bytes

    def index(self, task: TarTask) -> Iterator[Progressed | TarDone]:
        """Index one tar. Raises StorageError, or ForeignSetError where it cannot be read."""
        tar = IndexedTar(task.name)
        sums = PixelSums.zero(self._setup.image_size)
        refused = None
        with DigestedShard(self._folder, task.name) as shard:
            for count in shard.digest():
                yield Progressed(count, 0)
            tar.size_bytes, tar.sha256 = shard.size_bytes, shard.sha256
            try:
                candidates = self._candidates(tar, shard)
            except TarLayoutError as error:
                refused = str(error)
                yield Progressed(tar.size_bytes, 0)
            else:
                yield from self._look(task, tar, candidates, shard, sums)
        yield TarDone(tar, sums, refused)

    def _candidates(self, tar: IndexedTar, shard: DigestedShard) -> list[LabelledImage]:
        """Return the samples that have an image and a label. Raises TarLayoutError."""
        candidates = []
        for each in labelled_images(walk_tar(shard.file), shard.read, self._setup.label_field):
            if isinstance(each, LeftOut):
                tar.skip(each.key, each.reason)
            else:
                candidates.append(each)
        return candidates

    def _look(
        self,
        task: TarTask,
        tar: IndexedTar,
        candidates: list[LabelledImage],
        shard: DigestedShard,
        sums: PixelSums,
    ) -> Generator[Progressed, None, None]:
        """Look at every image; take up those that can be read."""
        counted = self._counted(task, len(candidates))
        rows: list[tuple[int, int, int]] = []
        labels: dict[Label, int] = {}
        seen_to = unreported = 0
        reported_at = time.monotonic()
        for place, (key, image, label) in enumerate(candidates):
            read = partial(shard.read, image.offset, image.size_bytes)
            try:
                if place in counted:
                    sums.add_image(decode_stored(self._decoder, image.size_bytes, read))
                is_squared = self._is_squared(read())
            except CorruptImageError as error:
                tar.skip(key, error.reason)
            else:
                number = labels.setdefault(label, len(labels))
                rows.append((image.offset, image.size_bytes, number))
                tar.all_squared &= is_squared
            unreported += 1
            if time.monotonic() - reported_at > _REPORT_INTERVAL_S:
                seen_to, seen_before = image.offset, seen_to
                yield Progressed(seen_to - seen_before, unreported)
                unreported, reported_at = 0, time.monotonic()
        # [] -> (0, 3)
        tar.rows = np.array(rows, dtype=np.int64).reshape(-1, 3)
        tar.labels = tuple(labels)
        yield Progressed(tar.size_bytes - seen_to, unreported)

    def _counted(self, task: TarTask, num_samples: int) -> set[int] | range:
        """Return the places of the images that count in the statistics."""
        if task.num_counted is None or task.num_counted >= num_samples:
            return range(num_samples)
        seed = (self._setup.seed + task.number) % (1 << 63)
        return set(packing_order(num_samples, seed=seed)[: task.num_counted].tolist())

    def _is_squared(self, data: bytes) -> bool:
        """Tell, by its header, whether a loader can decode an image as one that we squared.

        Raises CorruptImageError.
        """
        size = self._setup.image_size
        try:
            with open_image(data) as image:
                if image.size != (size, size) or image.orientation() != 1:
                    return False
                if len(data) > self._max_squared_bytes or not data.startswith(_JPEG_MAGIC):
                    return False
                _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
                return colours in _PLAIN_COLOURS
        except SkippedImageError as error:
            raise corrupt_of(error) from error
