"""What a verifying process does: examine one shard after another."""

import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from data_shards.arrays import Int64s
from data_shards.errors import StorageDownError, StorageError
from data_shards.feeding.corrupt import CorruptImageError, CorruptReason
from data_shards.feeding.decode import Decoder
from data_shards.feeding.keys import key_of
from data_shards.inspection.digested_shard import DigestedShard
from data_shards.inspection.stored_image import decode_stored
from data_shards.manifest import Manifest, ShardEntry
from data_shards.processes.worker import Handler
from data_shards.shards.grouping import IMAGE_EXTENSIONS, INDEXED_KIND, group_by_key
from data_shards.shards.index import TAR_BLOCK
from data_shards.shards.tar_index import (
    SUFFIX_OF_ENCODING,
    TarLayoutError,
    TarSample,
    samples_of_tar,
    walk_tar,
)
from data_shards.storage.folder import open_folder

# Between two signs of life; an orphan notices no sooner that nobody listens.
_REPORT_INTERVAL_S = 0.1
# Enough to find them.
_MAX_KEYS = 5


@dataclass(frozen=True)
class BytesDone:
    """So many more bytes were digested."""

    count: int


@dataclass(frozen=True)
class SamplesDone:
    """So many more images were decoded, or found corrupt."""

    count: int


@dataclass(frozen=True)
class CorruptFound:
    """Images of one shard that are corrupt for one reason."""

    shard: str
    reason: CorruptReason
    count: int
    keys: tuple[str, ...]
    """Of the first of them."""


@dataclass(frozen=True)
class ShardChecked:
    """A shard was examined."""

    name: str
    problems: tuple[str, ...]
    corrupt: tuple[CorruptFound, ...] = ()


@dataclass(frozen=True)
class ShardCheck:
    """What one shard must be."""

    entry: ShardEntry
    rows: Int64s | None
    """(num_samples, 3) its part of the index: offset, size, label; None if that is unusable."""


@dataclass(frozen=True)
class VerifierSetup:
    """What a verifying process must know before its first shard."""

    location: str
    """Of the set's folder."""
    manifest: Manifest
    decode: bool

    def open(self) -> Handler:
        """Return the handler of a new verifier's tasks."""
        return _Verifier(self).check


class _Verifier:
    def __init__(self, setup: VerifierSetup) -> None:
        manifest = setup.manifest
        self._folder = open_folder(setup.location)
        self._indexed = manifest.packing.source == INDEXED_KIND
        self._suffix = SUFFIX_OF_ENCODING[manifest.encoding]
        self._decodes = setup.decode
        self._decoder = Decoder(manifest.encoding, manifest.image_size, squared=manifest.squared)

    def check(self, task: ShardCheck) -> Iterator[BytesDone | SamplesDone | ShardChecked]:
        """Examine one shard. Raises StorageDownError."""
        entry = task.entry
        corrupt: tuple[CorruptFound, ...] = ()
        try:
            with DigestedShard(self._folder, entry.name) as shard:
                for count in shard.digest():
                    yield BytesDone(count)
                problem = self._problem(task, shard)
                # Of bytes that are not the manifest's, nothing tells where an image begins.
                if self._decodes and problem is None and task.rows is not None:
                    corrupt = yield from self._decode(task, shard)
        except FileNotFoundError:
            problem = "is missing"
        except StorageDownError:
            raise
        except StorageError as error:
            problem = error.problem
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        problems = (*([problem] if problem else []), *map(_in_words, corrupt))
        yield ShardChecked(entry.name, problems, corrupt)

    def _problem(self, task: ShardCheck, shard: DigestedShard) -> str | None:
        entry = task.entry
        if shard.size_bytes != entry.size_bytes:
            return f"has {shard.size_bytes} bytes where the manifest says {entry.size_bytes}"
        if shard.sha256 != entry.sha256:
            return "does not have the manifest's sha256"
        try:
            if self._indexed:
                return _problem_by_key(task, shard)
            return _problem_in_turn(task, samples_of_tar(shard.file, self._suffix))
        except TarLayoutError as error:
            return f"is no tar {'to be trusted' if self._indexed else 'of ours'}: {error}"

    def _decode(
        self, task: ShardCheck, shard: DigestedShard
    ) -> Generator[SamplesDone, None, tuple[CorruptFound, ...]]:
        """Decode every image; return what is corrupt."""
        assert task.rows is not None
        keys: defaultdict[CorruptReason, list[str]] = defaultdict(list)
        unreported, reported_at = 0, time.monotonic()
        for offset, size, _ in task.rows.tolist():
            try:
                decode_stored(self._decoder, size, partial(shard.read, offset, size))
            except CorruptImageError as error:
                header = shard.read(offset - TAR_BLOCK, TAR_BLOCK)
                keys[error.reason].append(key_of(header) or f"byte {offset}")
            unreported += 1
            if time.monotonic() - reported_at > _REPORT_INTERVAL_S:
                yield SamplesDone(unreported)
                unreported, reported_at = 0, time.monotonic()
        yield SamplesDone(unreported)
        return tuple(
            CorruptFound(task.entry.name, reason, len(each), tuple(each[:_MAX_KEYS]))
            for reason, each in sorted(keys.items())
        )


def _problem_in_turn(task: ShardCheck, samples: list[TarSample]) -> str | None:
    """Compare the samples of a tar of ours with the index."""
    expected = task.entry.num_samples
    if len(samples) != expected:
        return f"holds {len(samples)} samples where the manifest says {expected}"
    if task.rows is not None and not np.array_equal(np.array(samples), task.rows):
        return "does not have its samples where the index says"
    return None


def _problem_by_key(task: ShardCheck, shard: DigestedShard) -> str | None:
    """Look for each sample of the index among the images of a tar that somebody else made."""
    if task.rows is None:
        return None
    images = {
        (member.offset, member.size_bytes)
        for sample in group_by_key(walk_tar(shard.file))
        for extension, member in sample.members.items()
        if extension in IMAGE_EXTENSIONS
    }
    for offset, size, _ in task.rows.tolist():
        if (offset, size) not in images:
            return f"has no image of {size} bytes at byte {offset}, where the index says"
    return None


def _in_words(found: CorruptFound) -> str:
    more = ", ..." if found.count > len(found.keys) else ""
    images = "1 image" if found.count == 1 else f"{found.count:,} images"
    return f"has {images} that cannot be used, {found.reason}: {', '.join(found.keys)}{more}"
