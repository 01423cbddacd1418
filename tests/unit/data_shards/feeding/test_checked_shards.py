import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.feeding import checked_shards
from data_shards.feeding.checked_shards import CheckedShards, users_checked_shards
from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.feeding.shard_files import ShardFacts, ShardFiles
from data_shards.manifest import load_manifest
from data_shards.storage.set_files import LocalFiles, has_digest
from tests.waiting import wait_for

DAY_S = 24 * 3600


@pytest.fixture
def cache(own_copy, tmp_path, monkeypatch) -> Path:
    """The user's cache, to which every file has long been what it is."""
    # What a test changes, it changes later, by the file system's time, which goes in steps.
    copied_ns = max(file.stat().st_ctime_ns for file in own_copy.iterdir())
    wait_for(
        "a step of the file system's time",
        lambda: file_system_ns(tmp_path / "probe") > copied_ns,
        timeout_s=30,
        every_s=0.001,
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checked_shards, "_SETTLED_NS", 0)
    return tmp_path / "cache"


def file_system_ns(probe: Path) -> int:
    """Return the time that a file system gives to a file that is changed now."""
    probe.touch()
    return probe.stat().st_ctime_ns


@pytest.fixture
def digested(monkeypatch) -> Counter[str]:
    """Counts how often each shard is read whole."""
    counts: Counter[str] = Counter()

    def counted(file, facts):
        counts[facts.name] += 1
        return has_digest(file, facts)

    monkeypatch.setattr(checked_shards, "has_digest", counted)
    return counts


def read_shard(folder: Path, number: int = 1) -> bytes:
    """Open a shard as a new reader's first loader does; return how it begins."""
    facts = [
        ShardFacts(shard.name, shard.size_bytes, shard.sha256)
        for shard in load_manifest(folder).shards
    ]
    checked = np.zeros(len(facts), dtype=np.uint8)
    files = ShardFiles(LocalFiles(folder), facts, checked, remembered=users_checked_shards())
    begin = bytes(files.read(number, 0, 512))
    files.close()
    return begin


def markers(cache: Path) -> list[Path]:
    return sorted((cache / "alexnet-training-service" / "checked").glob("[0-9a-f]*"))


def test_a_shard_is_digested_once_by_all_readers(cache, digested, own_copy):
    assert len({read_shard(own_copy) for _ in range(3)}) == 1
    assert digested == {"train-000001.tar": 1}
    read_shard(own_copy, 2)
    assert digested == {"train-000001.tar": 1, "train-000002.tar": 1}
    assert [marker.stat().st_size for marker in markers(cache)] == [0, 0]


def flip(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(700)
        byte = file.read(1)[0]
        file.seek(700)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def replace(path: Path) -> None:
    new = Path(shutil.copy2(path, path.with_suffix(".new")))
    flip(new)
    new.replace(path)


@pytest.mark.parametrize("change", [flip, replace])
def test_a_shard_whose_content_changes_is_found_wrong(cache, digested, own_copy, change):
    read_shard(own_copy)
    change(own_copy / "train-000001.tar")
    for _ in range(2):
        with pytest.raises(ShardError, match="does not have the manifest's sha256"):
            read_shard(own_copy)
    assert digested == {"train-000001.tar": 3}
    # None for what is wrong.
    assert len(markers(cache)) == 1


def test_a_touched_shard_is_digested_again(cache, digested, own_copy):
    read_shard(own_copy)
    (own_copy / "train-000001.tar").touch()
    read_shard(own_copy)
    read_shard(own_copy)
    assert digested == {"train-000001.tar": 2}


def test_another_digest_in_the_manifest_is_looked_for(cache, own_copy):
    path = own_copy / "train-000001.tar"
    size, remembered = path.stat().st_size, users_checked_shards()
    right = load_manifest(own_copy).shards[1].sha256
    with LocalFiles(own_copy).open(ShardFacts(path.name, size, right)) as file:
        assert remembered.has_digest(file, ShardFacts(path.name, size, right))
        assert not remembered.has_digest(file, ShardFacts(path.name, size, "0" * 64))


def test_what_changed_a_moment_ago_is_not_remembered(cache, digested, monkeypatch, own_copy):
    monkeypatch.setattr(checked_shards, "_SETTLED_NS", 60 * 10**9)
    (own_copy / "train-000001.tar").touch()
    read_shard(own_copy)
    read_shard(own_copy)
    assert digested == {"train-000001.tar": 2}
    assert not markers(cache)


def test_what_changes_while_it_is_digested_is_not_remembered(cache, monkeypatch, own_copy):
    def digest_and_touch(file, facts):
        (own_copy / facts.name).touch()
        return True

    monkeypatch.setattr(checked_shards, "has_digest", digest_and_touch)
    read_shard(own_copy)
    assert not markers(cache)


@pytest.mark.parametrize("cache_home", ["a file", "/proc/none"])
def test_without_a_cache_all_is_digested(digested, monkeypatch, own_copy, tmp_path, cache_home):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache_home))
    assert users_checked_shards() == CheckedShards(None)
    read_shard(own_copy)
    read_shard(own_copy)
    assert digested == {"train-000001.tar": 2}


def test_a_cache_that_goes_away_is_done_without(cache, digested, own_copy):
    facts = [ShardFacts(s.name, s.size_bytes, s.sha256) for s in load_manifest(own_copy).shards]
    remembered = users_checked_shards()
    shutil.rmtree(cache)
    with LocalFiles(own_copy).open(facts[0]) as file:
        assert remembered.has_digest(file, facts[0])
    assert digested == {facts[0].name: 1}


def test_markers_that_nobody_used_for_a_month_go(cache, own_copy):
    read_shard(own_copy, 0)
    read_shard(own_copy, 1)
    (folder,) = {marker.parent for marker in markers(cache)}
    age(29 * DAY_S, *folder.iterdir())
    # A use is noted; the sweep of the day is over with it.
    read_shard(own_copy, 1)
    age(2 * DAY_S, *folder.iterdir())
    users_checked_shards()
    assert len(markers(cache)) == 1
    age(31 * DAY_S, *markers(cache))
    users_checked_shards()
    assert len(markers(cache)) == 1


def age(seconds: float, *paths: Path) -> None:
    for path in paths:
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def test_a_readers_loaders_go_by_what_is_remembered(cache, own_copy):
    """A marker for a wrong shard, such as no reader makes, is what shows it."""
    plan = ReaderPlan(
        location=str(own_copy),
        seed=5,
        global_batch_size=8,
        crop_size=24,
        num_streams=4,
        window=2,
    )
    shard = load_manifest(own_copy).shards[1]
    flip(own_copy / shard.name)
    with LocalFiles(own_copy).open(shard) as file:
        marker = checked_shards._marker(file, shard)
    folder = users_checked_shards().folder
    assert folder is not None
    (folder / marker).touch()
    with Reader(plan, num_processes=1) as reader:
        assert sum(batch.images.shape[0] for batch in reader.batches(0, 5)) == 40
    (own_copy / shard.name).touch()
    with (
        Reader(plan, num_processes=1) as reader,
        pytest.raises(ShardError, match=f"{shard.name}: does not have"),
    ):
        list(reader.batches(0, 5))
