"""What fetches ahead, alone: no loader asks for anything."""

import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from data_shards.feeding.epochs import order_of_epoch
from data_shards.feeding.feed_cost import NO_COST
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.prefetch import Prefetch
from data_shards.feeding.shard_files import ShardFacts
from data_shards.manifest import load_manifest
from data_shards.storage.folder import open_folder
from data_shards.storage.set_files import CachedFiles
from data_shards.storage.shard_cache import ShardCache
from tests.waiting import wait_for

PLAN = ReaderPlan(
    location="there", seed=1, global_batch_size=4, crop_size=24, num_streams=1, window=1
)


@pytest.fixture
def files(packed: Path, bucket: str, tmp_path: Path) -> CachedFiles:
    for file in packed.iterdir():
        open_folder(bucket).put(file, file.name)
    return CachedFiles(bucket, ShardCache(tmp_path / "cache", 10**6))


def shards_of(packed: Path) -> tuple[tuple[ShardFacts, ...], tuple[int, ...], list[str]]:
    """Return facts and sample counts of a set's shards, and digests as one stream needs them."""
    shards = load_manifest(packed).shards
    sizes = tuple(shard.num_samples for shard in shards)
    facts = tuple(ShardFacts(shard.name, shard.size_bytes, shard.sha256) for shard in shards)
    samples = order_of_epoch(PLAN, sizes, 0).samples
    numbers = np.searchsorted(np.cumsum(sizes), samples, side="right").tolist()
    return facts, sizes, [shards[number].sha256 for number in dict.fromkeys(numbers)]


def wait_until_fetched(files: CachedFiles, expected: set[str]) -> None:
    def are_there() -> bool:
        assert fetched(files) <= expected, "more was fetched than is wanted"
        return fetched(files) == expected

    wait_for("fetches", are_there, timeout_s=60, every_s=0.01)


def fetched(files: CachedFiles) -> set[str]:
    """Digests of the shards in the cache."""
    return {path.name for path in files.cache.folder.glob(64 * "?")}


def is_released(files: CachedFiles, digest: str) -> bool:
    """Tell whether a shard is marked as one that makes room first."""
    return (files.cache.folder / digest).stat().st_mtime < time.time() - 1800


def test_fetches_what_two_windows_need_and_goes_on_with_the_reader(
    packed: Path, files: CachedFiles
) -> None:
    facts, sizes, in_order = shards_of(packed)

    prefetch = Prefetch(PLAN, files, facts, sizes)
    try:
        assert fetched(files) == set()
        prefetch.advance(0, 100)
        wait_until_fetched(files, set(in_order[:2]))
        # Its first shard, of ten samples at most, is done with.
        prefetch.advance(3, 100)
        wait_until_fetched(files, set(in_order[:3]))
        # Nothing of it is needed beyond the end.
        prefetch.advance(3, 4)
        wait_for("a release", lambda: is_released(files, in_order[2]), timeout_s=60, every_s=0.01)
        assert fetched(files) == set(in_order[:3])
        process = psutil.Process(prefetch.pid)
    finally:
        prefetch.close()
    assert not process.is_running()
    assert files.cache.counters().fetches == 3


def test_tells_what_it_fetched(packed: Path, files: CachedFiles) -> None:
    facts, sizes, in_order = shards_of(packed)
    told = NO_COST

    def take() -> bool:
        nonlocal told
        told = told.plus(prefetch.take_cost())
        return told.cache_misses == 2

    prefetch = Prefetch(PLAN, files, facts, sizes)
    try:
        assert prefetch.take_cost() == NO_COST
        prefetch.advance(0, 100)
        wait_for("two shards", take, timeout_s=60, every_s=0.01)
        assert prefetch.take_cost() == NO_COST
    finally:
        prefetch.close()
    size = {one.sha256: one.size_bytes for one in facts}
    assert told.remote_bytes == sum(size[digest] for digest in in_order[:2])
    assert told.fetch_s > 0


def test_what_is_not_there_is_left_to_the_loaders(packed: Path, files: CachedFiles) -> None:
    facts, sizes, (first, second, *_) = shards_of(packed)
    name = {one.sha256: one.name for one in facts}
    open_folder(files.at("x").rpartition("/")[0]).delete(name[first])
    prefetch = Prefetch(PLAN, files, facts, sizes)
    try:
        prefetch.advance(0, 100)
        wait_until_fetched(files, {second})
        assert psutil.Process(prefetch.pid).is_running()
    finally:
        prefetch.close()


def test_an_error_nobody_foresaw_leaves_the_rest_fetched_ahead(
    packed: Path, files: CachedFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    facts, sizes, (first, second, *_) = shards_of(packed)
    # No fetch of none is foreseen.
    broken = tuple(
        ShardFacts(one.name, "none" if one.sha256 == first else one.size_bytes, one.sha256)  # type: ignore[arg-type]
        for one in facts
    )
    prefetch = Prefetch(PLAN, files, broken, sizes)
    try:
        prefetch.advance(0, 100)
        wait_until_fetched(files, {second})
        assert psutil.Process(prefetch.pid).is_running()
    finally:
        prefetch.close()
    assert "not fetched ahead: " in capfd.readouterr().err
