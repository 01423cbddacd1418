"""The idx format of MNIST and its kin: a header, then bytes; plain or gzipped."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from data_shards.arrays import Pixels
from data_shards.errors import SourceError

# Third byte: 8 is unsigned bytes; fourth: the number of dimensions.
_MAGIC = {1: 0x00000801, 3: 0x00000803}


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file `name` or `name`.gz in a folder, if there is one."""
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def read_idx(path: Path, *, num_dimensions: int) -> Pixels:
    """Read a whole idx file of bytes. Raises SourceError naming the file."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    header = struct.Struct(f">{1 + num_dimensions}I")
    if len(content) < header.size:
        raise SourceError(f"{path} is too short for an idx file")
    magic, *shape = header.unpack_from(content)
    if magic != _MAGIC[num_dimensions]:
        raise SourceError(f"{path} is no idx file of bytes with {num_dimensions} dimensions")
    values = np.frombuffer(content, dtype=np.uint8, offset=header.size)
    if values.size != np.prod(shape, dtype=np.int64):
        raise SourceError(f"{path} holds {values.size} values where its header says {shape}")
    return values.reshape(shape)
