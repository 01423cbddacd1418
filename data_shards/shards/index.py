"""The index beside the shards. Apart from its checks, so that loaders start without pydantic."""

from pathlib import Path

import numpy as np

from data_shards.arrays import Int64s

# Columns of the index, int64 (num_samples, 4).
SHARD, OFFSET, SIZE, LABEL = range(4)
# What a tar consists of; each member has one as its header.
TAR_BLOCK = 512


def map_index(path: Path) -> Int64s:
    """Map an index whose digest was checked: int64 (num_samples, 4)."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
