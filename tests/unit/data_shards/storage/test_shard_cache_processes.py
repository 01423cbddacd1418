"""The shard cache: several processes at once, some of which are killed."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import facts_of, read
from tests.waiting import wait_for

_PROCESS = """
import hashlib, random, sys
from pathlib import Path
from types import SimpleNamespace
from data_shards.storage.folder import open_folder
from data_shards.storage.shard_cache import ShardCache

root, seed, rounds, bound, *facts = sys.argv[1:]
facts = zip(*[iter(facts)] * 3)
files = [SimpleNamespace(name=n, size_bytes=int(s), sha256=d) for n, s, d in facts]
cache, draw = ShardCache(Path(root) / "cache", int(bound)), random.Random(int(seed))
folder = open_folder(Path(root) / "source")
for _ in range(int(rounds)):
    file = draw.choice(files)
    with cache.open(file, lambda: folder) as opened:
        content = opened.read()
    assert hashlib.sha256(content).hexdigest() == file.sha256, file.name
    cache.keep(draw.sample(files, 3))
"""
BIG_FILES = [
    facts_of(f"big-{k}", random.Random(k).randbytes(100_000 + 20_000 * k)) for k in range(12)
]
BIG_BYTES = sum(file.size_bytes for file in BIG_FILES)


def hammer(root: Path, seed: int, rounds: int, bound: int) -> subprocess.Popen[bytes]:
    """Start a process that opens files at random, each of which must be right."""
    facts = [(file.name, str(file.size_bytes), file.sha256) for file in BIG_FILES]
    arguments = [str(root), str(seed), str(rounds), str(bound), *sum(facts, ())]
    return subprocess.Popen([sys.executable, "-c", _PROCESS, *arguments])


@pytest.fixture
def big_source(tmp_path: Path) -> Folder:
    folder = open_folder(tmp_path / "source")
    for file in BIG_FILES:
        folder.put_bytes(file.content, file.name)
    return folder


def test_processes_that_are_killed_leave_a_right_cache_behind(
    tmp_path: Path, big_source: Folder
) -> None:
    bound = BIG_BYTES // 3
    cache = ShardCache(tmp_path / "cache", bound)
    processes = [hammer(tmp_path, seed, 10**9, bound) for seed in range(4)]
    try:
        watch(cache, processes, more=20)
        for seed in range(4, 10):
            victim = seed % 4
            processes[victim].kill()
            processes[victim].wait()
            processes[victim] = hammer(tmp_path, seed, 10**9, bound)
            watch(cache, processes, more=5)
        watch(cache, processes, more=20)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert cache.counters().evictions > 0
    # What the killed left goes when somebody needs room, whichever file they want.
    for file in BIG_FILES:
        assert read(cache, file, big_source) == file.content
    assert not list(cache.folder.glob("*.part"))


def watch(cache: ShardCache, processes: list[subprocess.Popen[bytes]], *, more: int) -> None:
    """Hold the cache to its bound until that many more files have been fetched."""
    enough = cache.counters().fetches + more

    def are_fetched() -> bool:
        assert all(process.poll() is None for process in processes)
        with cache._locked():
            names = list(cache.folder.glob(64 * "?" + "*"))
            assert sum(path.stat().st_size for path in names) <= cache.max_bytes
        return cache.counters().fetches >= enough

    wait_for("fetches", are_fetched, timeout_s=60, every_s=0.005)


@pytest.mark.usefixtures("big_source")
def test_each_file_is_fetched_once_where_the_bound_holds_all(tmp_path: Path) -> None:
    processes = [hammer(tmp_path, seed, 100, BIG_BYTES) for seed in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    counted = ShardCache(tmp_path / "cache", BIG_BYTES).counters()
    assert counted[1:4] == (12, BIG_BYTES, 0)
    assert counted.hits == 4 * 100 - 12
