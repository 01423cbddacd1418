"""The shard cache: against a model, in one process and among several that are killed."""

import errno
import fcntl
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from data_shards.errors import ShardError, StorageDownError, StorageError
from data_shards.storage.cache_counters import Counters
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.shard_cache import ShardCache

BOUND = 100


@dataclass(frozen=True)
class Facts:
    name: str
    size_bytes: int
    sha256: str
    content: bytes = field(repr=False, default=b"")


def facts_of(name: str, content: bytes) -> Facts:
    return Facts(name, len(content), hashlib.sha256(content).hexdigest(), content)


FILES = [
    facts_of(f"{size}-{letter}", letter.encode() * size)
    for size in (10, 30, 40, 70)
    for letter in "abc"
]


class CountingFolder:
    """What a source is asked for; the rest is as on disk."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.reads: list[str] = []

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        self.reads.append(name)
        return self._folder.read_range(name, offset, size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._folder, name)


@pytest.fixture
def source(tmp_path: Path) -> CountingFolder:
    folder = open_folder(tmp_path / "source")
    for file in FILES:
        folder.put_bytes(file.content, file.name)
    return CountingFolder(folder)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", BOUND)


def read(cache: ShardCache, file: Facts, source: object) -> bytes:
    with cache.open(file, lambda: source) as opened:  # type: ignore[arg-type, return-value]
        return opened.read()


def whole(cache: ShardCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir() if len(path.name) == 64}


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


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"x" * 9), "has 9 bytes where the manifest says 10"),
        (lambda path: path.write_bytes(b"x" * 10), "does not have the manifest's sha256"),
    ],
)
def test_names_what_the_source_has_not(
    cache: ShardCache,
    source: CountingFolder,
    damage: Callable[[Path], object],
    problem: str,
) -> None:
    damage(Path(source.location) / FILES[0].name)  # type: ignore[arg-type]
    with pytest.raises(ShardError, match=f"source/10-a: {problem}"):
        read(cache, FILES[0], source)
    assert {path.name for path in cache.folder.iterdir()} == {"lock"}


def test_bytes_damaged_on_the_way_are_fetched_again(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = source._folder.read_range
    answers = iter([b"damaged..."])
    monkeypatch.setattr(
        source._folder, "read_range", lambda *where: next(answers, None) or right(*where)
    )
    assert read(cache, FILES[0], source) == FILES[0].content
    assert source.reads == [FILES[0].name] * 2


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


def test_what_is_in_work_is_waited_for_before_anything_is_thrown_away(
    tmp_path: Path, source: CountingFolder
) -> None:
    cache = ShardCache(tmp_path / "cache", BOUND, patience_s=0.1)
    read(cache, FILES[0], source)
    with (
        holding(cache.path(FILES[9], ".part"), size=70),
        pytest.raises(StorageDownError, match=r"cache was waited for 0 s, in which what is being"),
    ):
        read(cache, FILES[6], source)
    assert whole(cache) == {FILES[0].sha256}
    assert read(cache, FILES[6], source) == FILES[6].content


@pytest.mark.parametrize("name", [f"{FILES[0].sha256}.part", "lock"])
def test_a_process_that_was_stopped_is_not_waited_for_without_end(
    tmp_path: Path, source: CountingFolder, name: str
) -> None:
    cache = ShardCache(tmp_path / "cache", BOUND, patience_s=0.1)
    with (
        holding(cache.folder / name),
        pytest.raises(StorageDownError, match=rf"{name} was waited for .*find the process that"),
    ):
        read(cache, FILES[0], source)
    assert read(cache, FILES[0], source) == FILES[0].content


def test_a_process_that_goes_on_is_waited_for(tmp_path: Path, source: CountingFolder) -> None:
    cache = ShardCache(tmp_path / "cache", BOUND, patience_s=0.5)
    path = cache.path(FILES[0], ".part")
    with ThreadPoolExecutor() as threads:
        with holding(path) as descriptor:
            waiting = threads.submit(read, cache, FILES[0], source)
            for _ in range(20):
                os.pwrite(descriptor, b"x", 0)
                time.sleep(0.05)
        assert waiting.result() == FILES[0].content


@contextmanager
def holding(path: Path, *, size: int = 0) -> Iterator[int]:
    """Lock a file of the cache, as another process would: the lock is the opened file's."""
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, size)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, source: CountingFolder) -> None:
    (tmp_path / "cache").write_bytes(b"")
    cache = ShardCache(tmp_path / "cache", BOUND)
    for use in (
        lambda: read(cache, FILES[0], source),
        lambda: cache.keep(FILES),
        cache.counters,
    ):
        with pytest.raises(StorageError, match=r"cache cannot be used: .*; name a folder, not a"):
            use()


@pytest.mark.parametrize("refused", ["open", "scandir", "utime"])
def test_another_users_files_are_named_and_their_age_left_alone(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    read(cache, FILES[0], source)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, refused, refuse)
    if refused == "utime":
        assert read(cache, FILES[0], source) == FILES[0].content
        return
    with pytest.raises(StorageError, match=r"Permission denied; name a folder .* this user alone"):
        read(cache, FILES[3], source)


def test_files_that_somebody_removes_by_hand_are_fetched_again(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = source._folder.read_range
    times = iter(range(2))

    def read_range(name: str, offset: int, size: int) -> bytes:
        if next(times, None) is not None:
            for path in cache.folder.iterdir():
                path.unlink()
        return right(name, offset, size)

    monkeypatch.setattr(source._folder, "read_range", read_range)
    assert read(cache, FILES[0], source) == FILES[0].content
    assert len(source.reads) == 3
    times = iter(range(9))
    with pytest.raises(StorageDownError, match="cannot be used: No such file"):
        read(cache, FILES[3], source)


def test_what_its_reader_is_done_with_makes_room_first(
    cache: ShardCache, source: CountingFolder
) -> None:
    for file in (FILES[0], FILES[3], FILES[6]):
        read(cache, file, source)
    cache.release([FILES[6], FILES[9]])
    read(cache, FILES[7], source)
    assert whole(cache) == {file.sha256 for file in (FILES[0], FILES[3], FILES[7])}


def test_a_file_is_fetched_once_by_all_who_ask_at_the_same_time(
    cache: ShardCache, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = source._folder.read_range

    def slow(name: str, offset: int, size: int) -> bytes:
        time.sleep(0.05)
        return right(name, offset, size)

    monkeypatch.setattr(source._folder, "read_range", slow)
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(read(cache, FILES[0], source)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [FILES[0].content] * 8
    assert source.reads == [FILES[0].name]
    assert cache.counters()[:2] == (7, 1)


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
        wait_for(cache, processes, fetches=20)
        for seed in range(4, 10):
            for _ in range(10):
                with cache._locked():
                    names = list(cache.folder.glob(64 * "?" + "*"))
                    used = sum(path.stat().st_size for path in names)
                assert used <= bound
                time.sleep(0.005)
            victim = seed % 4
            assert processes[victim].poll() is None
            processes[victim].kill()
            processes[victim].wait()
            processes[victim] = hammer(tmp_path, seed, 10**9, bound)
        wait_for(cache, processes, fetches=cache.counters().fetches + 20)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert cache.counters().evictions > 0
    # What the killed left goes when somebody needs room, whichever file they want.
    for file in BIG_FILES:
        assert read(cache, file, big_source) == file.content
    assert not list(cache.folder.glob("*.part"))


def wait_for(cache: ShardCache, processes: list[subprocess.Popen[bytes]], *, fetches: int) -> None:
    while cache.counters().fetches < fetches:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


@pytest.mark.usefixtures("big_source")
def test_each_file_is_fetched_once_where_the_bound_holds_all(tmp_path: Path) -> None:
    processes = [hammer(tmp_path, seed, 100, BIG_BYTES) for seed in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    counted = ShardCache(tmp_path / "cache", BIG_BYTES).counters()
    assert counted[1:4] == (12, BIG_BYTES, 0)
    assert counted.hits == 4 * 100 - 12
