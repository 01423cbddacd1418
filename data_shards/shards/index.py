"""The index beside the shards. Apart from its checks, so that loaders start without pydantic."""

from io import FileIO

import numpy as np

from data_shards.arrays import Int64s

# Columns of the index, int64 (num_samples, 4).
SHARD, OFFSET, SIZE, LABEL = range(4)
# What a tar consists of; each member has one as its header.
TAR_BLOCK = 512


def map_index_file(file: FileIO) -> Int64s:
    """Map an open index whose digest was checked, int64 (num_samples, 4).

    The file may have lost its name, and may be closed then.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the format")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return np.asarray(np.memmap(file, dtype=kind, mode="r", offset=file.tell(), shape=shape))
