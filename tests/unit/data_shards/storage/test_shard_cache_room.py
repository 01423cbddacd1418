"""The shard cache: what makes room for what, on disks of any size."""

import errno
import os
from pathlib import Path

import pytest

from data_shards.errors import StorageDownError, StorageError
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import FILES, CountingFolder, facts_of, read, whole


def test_what_its_reader_is_done_with_makes_room_first(
    cache: ShardCache, source: CountingFolder
) -> None:
    for file in (FILES[0], FILES[3], FILES[6]):
        read(cache, file, source)
    cache.release([FILES[6], FILES[9]])
    read(cache, FILES[7], source)
    assert whole(cache) == {file.sha256 for file in (FILES[0], FILES[3], FILES[7])}


def test_a_file_larger_than_the_bound_is_named(tmp_path: Path, source: CountingFolder) -> None:
    small = ShardCache(tmp_path / "cache", 20)
    with pytest.raises(
        StorageError, match="may hold 20 bytes, too few for 30-a with 30; raise ALEX"
    ):
        read(small, FILES[3], source)


def test_a_disk_smaller_than_the_bound_is_filled_and_named(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = os.posix_fallocate

    def fallocate(descriptor: int, offset: int, size: int) -> None:
        used = sum(path.stat().st_size for path in cache.folder.iterdir() if len(path.name) == 64)
        if used + size > 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        take(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    for file in (FILES[0], FILES[3], FILES[6]):
        assert read(cache, file, source) == file.content
    # 10 and 30 made room for 40, whatever the bound says.
    assert whole(cache) == {FILES[6].sha256}
    assert cache.counters().evictions == 2
    with pytest.raises(StorageError, match="cannot be used: No space left on device; make room"):
        read(cache, FILES[9], source)


def test_a_disk_that_others_fill_costs_no_more_than_was_asked_for(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (FILES[0], FILES[1], FILES[2], FILES[3]):
        read(cache, file, source)

    def fallocate(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    with pytest.raises(StorageDownError, match="make room"):
        read(cache, facts_of("20-a", bytes(20)), source)
    assert whole(cache) == {FILES[2].sha256, FILES[3].sha256}
