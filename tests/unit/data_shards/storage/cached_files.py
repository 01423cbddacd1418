"""The files that tests of the shard cache fetch, and a source that counts."""

import hashlib
from dataclasses import dataclass, field

from data_shards.storage.folder import Folder
from data_shards.storage.shard_cache import ShardCache

# What the cache may hold: few of the files.
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


def read(cache: ShardCache, file: Facts, source: object) -> bytes:
    with cache.open(file, lambda: source) as opened:  # type: ignore[arg-type, return-value]
        return opened.read()


def whole(cache: ShardCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir() if len(path.name) == 64}
