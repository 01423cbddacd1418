"""The shard cache of this node, as its operator set it up."""

import os
from pathlib import Path

from data_shards.errors import StorageError
from data_shards.storage.shard_cache import ShardCache
from data_shards.user_cache import cache_folder

FOLDER_VARIABLE = "ALEXNET_SHARD_CACHE"
BYTES_VARIABLE = "ALEXNET_SHARD_CACHE_BYTES"
# ImageNet at 256 pixels is about 45 GB (assumed): the whole of it stays, where the disk lets it.
DEFAULT_BYTES = 64 << 30


def node_cache() -> ShardCache:
    """Return the node's cache; its folder is made when it is first used.

    Raises StorageError where the environment does not say it right.
    """
    configured = os.environ.get(FOLDER_VARIABLE)
    if configured is not None and not Path(configured).is_absolute():
        raise StorageError(FOLDER_VARIABLE, f"is {configured!r}", "set it to an absolute path")
    folder = Path(configured) if configured is not None else cache_folder("shards")
    size = os.environ.get(BYTES_VARIABLE, str(DEFAULT_BYTES))
    if not (size.isascii() and size.isdigit()) or int(size) == 0:
        raise StorageError(BYTES_VARIABLE, f"is {size!r}", "set it to a number of bytes")
    return ShardCache(folder, int(size))
