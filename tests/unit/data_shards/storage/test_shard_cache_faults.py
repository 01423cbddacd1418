"""The shard cache: sources, bytes and folders that are not as they should be."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data_shards.errors import ShardError, StorageDownError, StorageError
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import BOUND, FILES, CountingFolder, read


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
