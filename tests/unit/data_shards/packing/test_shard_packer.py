import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_shards.arrays import Pixels
from data_shards.errors import PackError, SourceError, UnwritableError
from data_shards.images.skip import SkippedImageError, SkipReason
from data_shards.packing import shard_packer
from data_shards.packing.request import ShardTask
from data_shards.packing.shard_packer import ImagesDone, PackerSetup, ShardDone
from data_shards.packing.statistics import PixelSums
from data_shards.packing.target import ShardPlaces
from data_shards.sources.source import Reference
from data_shards.storage.local_folder import LocalFolder
from tests.packed_tars import samples_in

NAME = "train-000000.tar"


@dataclass(frozen=True)
class Shades:
    """Image n is all n; those below zero are broken, the one at 255 is on a broken disk."""

    def read(self, reference: Reference) -> Pixels:
        assert isinstance(reference, int)
        shade = reference
        if shade < 0:
            raise SkippedImageError(SkipReason.UNREADABLE)
        if shade == 255:
            raise SourceError("255 cannot be read")
        return np.full((16, 16, 3), shade, dtype=np.uint8)


def pack(folder: Path, shades: list[int]) -> tuple[int, ShardDone]:
    """Return how many images it told of before the last word, and that word."""
    setup = PackerSetup(
        reader=Shades(),
        places=ShardPlaces(growing=folder, finished=str(folder), records=str(folder)),
        request_sha256="0" * 64,
        size=16,
        encoding="raw",
        quality=90,
        squared=True,
    )
    samples: list[tuple[Reference, int]] = [(shade, shade % 7) for shade in shades]
    *told, done = setup.open()(ShardTask(name=NAME, first_key=40, samples=samples))
    assert isinstance(done, ShardDone)
    return sum(each.count for each in told if isinstance(each, ImagesDone)), done


def test_a_shard_comes_with_its_index_digest_and_sums(tmp_path, monkeypatch):
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    count, done = pack(tmp_path, [3, 10, 200])
    assert count == 3
    content = (tmp_path / NAME).read_bytes()
    assert (done.shard.name, done.shard.size_bytes) == (NAME, len(content))
    assert done.shard.sha256 == hashlib.sha256(content).hexdigest()
    assert synced == [NAME, f"{NAME}.record.part", tmp_path.name]
    assert done.shard.rows.dtype == np.int64
    assert np.array_equal(done.shard.rows, samples_in(tmp_path / NAME, "rgb"))
    assert done.shard.rows[:, 2].tolist() == [3, 3, 4]
    assert [content[offset] for offset in done.shard.rows[:, 0]] == [3, 10, 200]
    assert done.sums.num_images == 3
    assert (done.sums.image == 213).all()
    assert not done.shard.skipped


def test_skipped_images_leave_their_keys_out_and_the_first_are_named(tmp_path):
    _, done = pack(tmp_path, [1, *range(-25, 0), 2])
    assert done.shard.skipped == {"unreadable": 25}
    assert [image.path for image in done.shard.skipped_images] == [str(n) for n in range(-25, -5)]
    assert done.sums.num_images == 2
    assert b"000000040.rgb" in (tmp_path / NAME).read_bytes()
    assert b"000000066.rgb" in (tmp_path / NAME).read_bytes()
    assert b"000000041" not in (tmp_path / NAME).read_bytes()


def test_a_shard_may_have_no_samples(tmp_path):
    _, done = pack(tmp_path, [-1, -2])
    assert done.shard.rows.shape == (0, 3)
    assert done.sums.num_images == 0


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / NAME).symlink_to("/dev/full")
    message = f"{NAME} cannot be written: No space left on device; make room"
    with pytest.raises(UnwritableError, match=message):
        pack(tmp_path, list(range(200)))


def test_a_disk_that_cannot_read_ends_the_packing(tmp_path):
    with pytest.raises(SourceError, match="255 cannot be read"):
        pack(tmp_path, [1, 255])


def test_want_of_memory_is_not_taken_for_a_broken_image(tmp_path, monkeypatch):
    def failing(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(shard_packer, "square_of", failing)
    with pytest.raises(SourceError, match="not enough memory for 3; pack with fewer --processes"):
        pack(tmp_path, [3])


def test_want_of_memory_wherever_it_shows_is_told(tmp_path, monkeypatch):
    def failing(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(PixelSums, "add_image", failing)
    with pytest.raises(PackError, match="not enough memory; use fewer --processes or a smaller"):
        pack(tmp_path, [3])


def test_a_fault_of_reading_is_not_laid_to_the_shard(tmp_path, monkeypatch):
    def failing(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "labels.gz")

    monkeypatch.setattr(Shades, "read", failing)
    with pytest.raises(SourceError, match="3 cannot be read: Input/output error; mend that"):
        pack(tmp_path, [3])


def test_too_many_open_files_are_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    def failing(path: Path, *arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(Path, "open", failing)
    # Which looks for what an earlier run had.
    monkeypatch.setattr(LocalFolder, "read_bytes", lambda *arguments: b"")
    with pytest.raises(PackError, match="open at once; use fewer --processes"):
        pack(tmp_path, [3])
