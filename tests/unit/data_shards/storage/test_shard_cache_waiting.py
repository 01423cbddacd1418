"""The shard cache: how long it waits for other processes, which are locks of other descriptors."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from data_shards.errors import StorageDownError
from data_shards.storage import patience
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import BOUND, FILES, CountingFolder, read, whole


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


class Clock:
    """Time that passes only in sleep, during which something happens."""

    def __init__(self, meanwhile: Callable[[float], object]) -> None:
        self._meanwhile = meanwhile
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, pause_s: float) -> None:
        self._now_s += pause_s
        self._meanwhile(self._now_s)


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


def test_a_process_that_goes_on_is_waited_for(
    tmp_path: Path, source: CountingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    news: list[None] = []
    cache = ShardCache(tmp_path / "cache", BOUND, patience_s=0.5).telling(lambda: news.append(None))
    with ExitStack() as held:
        descriptor = held.enter_context(holding(cache.path(FILES[0], ".part")))

        def go_on(now_s: float) -> None:
            if now_s > 2.0:
                held.close()
            else:
                # As a write would, at a time that no two share.
                os.utime(descriptor, (now_s, now_s))

        clock = Clock(go_on)
        monkeypatch.setattr(patience, "time", clock)
        assert read(cache, FILES[0], source) == FILES[0].content
        assert clock.monotonic() > 2.0
    # Of each write of the other's, and of what it then fetched itself.
    assert len(news) > 10
