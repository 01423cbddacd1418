"""The shard cache: what it holds, against a model."""

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from data_shards.storage import shard_cache
from data_shards.storage.cache_counters import Counters
from data_shards.storage.cache_folder import locked_file
from data_shards.storage.folder import open_folder
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import (
    BOUND,
    FILES,
    CountingFolder,
    Facts,
    read,
    whole,
)


class CacheMachine(RuleBasedStateMachine):
    """The cache beside a list of names, least recently used first."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        # No pytest fixture reaches here.
        self._root = tempfile.TemporaryDirectory()
        root = Path(self._root.name)
        folder = open_folder(root / "source")
        for file in FILES:
            folder.put_bytes(file.content, file.name)
        self.source = CountingFolder(folder)
        self.cache = ShardCache(root / "cache", BOUND)
        self.model: list[Facts] = []
        self.expected = Counters()
        self.held: list[tuple[FileIO, Facts]] = []

    def teardown(self) -> None:
        for file, _ in self.held:
            file.close()
        self._root.cleanup()

    @rule(file=st.sampled_from(FILES), hold=st.booleans())
    def open(self, file: Facts, hold: bool) -> None:
        reads = len(self.source.reads)
        opened = self.cache.open(file, lambda: self.source)  # type: ignore[arg-type, return-value]
        if file in self.model:
            assert len(self.source.reads) == reads
            self.model.remove(file)
            self._count(hits=1)
        else:
            assert self.source.reads[reads:] == [file.name]
            self._count(fetches=1, bytes_fetched=file.size_bytes)
            while sum(each.size_bytes for each in self.model) + file.size_bytes > BOUND:
                self.model.pop(0)
                self._count(evictions=1)
        self.model.append(file)
        if hold:
            self.held.append((opened, file))
        else:
            assert opened.read() == file.content
            opened.close()

    @rule(files=st.lists(st.sampled_from(FILES), unique=True))
    def keep(self, files: list[Facts]) -> None:
        absent = self.cache.keep(files)
        assert absent == [file for file in files if file not in self.model]
        kept = [file for file in files if file in self.model]
        self.model = [file for file in self.model if file not in kept] + kept

    @rule(file=st.sampled_from(FILES), cut=st.booleans())
    def spoil(self, file: Facts, cut: bool) -> None:
        """A file on disk is not what its name says; who finds out drops it, and only it."""
        if file not in self.model:
            return
        path = self.cache.path(file)
        path.write_bytes(b"" if cut else bytes(file.size_bytes))
        with FileIO(path) as opened:
            self.cache.drop(file, opened)
            self.model.remove(file)
            assert not path.exists()
            self.cache.drop(file, opened)

    @rule(file=st.sampled_from(FILES), size=st.integers(0, 70))
    def die_fetching(self, file: Facts, size: int) -> None:
        """What a killed process leaves."""
        self.cache.folder.mkdir(exist_ok=True)
        self.cache.path(file, ".part").write_bytes(bytes(size))

    @rule()
    def hold_on(self) -> None:
        """What was opened reads as it did, whatever became of its name."""
        for opened, file in self.held:
            opened.seek(0)
            content = opened.read()
            # Unless a test spoiled the very file.
            assert content == file.content or set(content) <= {0}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if not self.cache.folder.exists():
            return
        assert whole(self.cache) == {file.sha256 for file in self.model}
        for file in self.model:
            assert self.cache.path(file).read_bytes() == file.content
        assert self.cache.counters()._replace(nanoseconds_fetching=0) == self.expected

    def _count(self, **more: int) -> None:
        counted = {name: getattr(self.expected, name) + number for name, number in more.items()}
        self.expected = self.expected._replace(**counted)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=25)


def test_counts_what_it_does(cache: ShardCache, source: CountingFolder) -> None:
    assert cache.counters() == Counters()
    for file in (FILES[0], FILES[0], FILES[-1], FILES[4]):
        assert read(cache, file, source) == file.content
    counted = cache.counters()
    assert counted[:4] == (1, 3, 110, 1)
    assert counted.nanoseconds_fetching > 0
    assert cache.done_here == counted
    # Another's is its own.
    other = ShardCache(cache.folder, cache.max_bytes)
    assert read(other, FILES[4], source) == FILES[4].content
    assert other.done_here == Counters(hits=1)


def test_what_is_open_outlives_its_name(cache: ShardCache, source: CountingFolder) -> None:
    first = cache.open(FILES[9], lambda: source)  # type: ignore[arg-type, return-value]
    read(cache, FILES[10], source)
    assert FILES[9].sha256 not in whole(cache)
    assert first.read() == FILES[9].content
    first.close()


def test_files_of_others_are_left_alone(cache: ShardCache, source: CountingFolder) -> None:
    cache.folder.mkdir()
    (cache.folder / "notes.txt").write_bytes(bytes(10 * BOUND))
    for file in FILES:
        read(cache, file, source)
    assert (cache.folder / "notes.txt").exists()


def test_a_file_is_fetched_once_by_all_who_ask_at_the_same_time(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    askers = 8
    asked = threading.Semaphore(0)
    lock, right = locked_file, source._folder.read_range

    def asked_for(path: Path, patience_s: float, *, changed: Callable[[], None]) -> int:
        if path.suffix == ".part":
            asked.release()
        return lock(path, patience_s, changed=changed)

    def read_range(name: str, offset: int, size: int) -> bytes:
        for _ in range(askers):
            assert asked.acquire(timeout=60)
        return right(name, offset, size)

    monkeypatch.setattr(shard_cache, "locked_file", asked_for)
    monkeypatch.setattr(source._folder, "read_range", read_range)
    with ThreadPoolExecutor(askers) as threads:
        reads = [threads.submit(read, cache, FILES[0], source) for _ in range(askers)]
    assert [each.result() for each in reads] == [FILES[0].content] * askers
    assert source.reads == [FILES[0].name]
    assert cache.counters()[:2] == (askers - 1, 1)
