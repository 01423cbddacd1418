"""A shard cache of 100 bytes, and a folder of files of 10 to 70 to fill it from."""

from pathlib import Path

import pytest

from data_shards.storage.folder import open_folder
from data_shards.storage.shard_cache import ShardCache
from tests.unit.data_shards.storage.cached_files import BOUND, FILES, CountingFolder


@pytest.fixture
def source(tmp_path: Path) -> CountingFolder:
    folder = open_folder(tmp_path / "source")
    for file in FILES:
        folder.put_bytes(file.content, file.name)
    return CountingFolder(folder)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", BOUND)
