from pathlib import Path

import pytest

from data_shards.errors import StorageError
from data_shards.storage.node_cache import DEFAULT_BYTES, node_cache


def test_the_operator_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_SHARD_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("ALEXNET_SHARD_CACHE_BYTES", "1000")
    cache = node_cache()
    assert (cache.folder, cache.max_bytes) == (tmp_path / "here", 1000)
    assert not cache.folder.exists()


def test_else_it_lies_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALEXNET_SHARD_CACHE", raising=False)
    monkeypatch.delenv("ALEXNET_SHARD_CACHE_BYTES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = node_cache()
    assert cache.folder == tmp_path / "alexnet-training-service" / "shards"
    assert cache.max_bytes == DEFAULT_BYTES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALEXNET_SHARD_CACHE", "relative/path"),
        ("ALEXNET_SHARD_CACHE", ""),
        ("ALEXNET_SHARD_CACHE_BYTES", "10 GB"),
        ("ALEXNET_SHARD_CACHE_BYTES", "-1"),
        ("ALEXNET_SHARD_CACHE_BYTES", "0"),
        ("ALEXNET_SHARD_CACHE_BYTES", "²"),
    ],
)
def test_what_it_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=f"^{name} is .*; set it to"):
        node_cache()
