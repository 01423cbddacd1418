"""The idx format of MNIST and its kin: a header, then bytes; plain or gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from data_shards.arrays import Pixels
from data_shards.errors import SourceError

# Third byte: 8 is unsigned bytes; fourth: the number of dimensions.
_MAGIC = {1: 0x00000801, 3: 0x00000803}
# Assumed: five times what Fashion-MNIST's images take.
_MAX_VALUES = 256 << 20


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file `name` or `name`.gz in a folder, if there is one."""
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def read_idx(path: Path, *, num_dimensions: int) -> Pixels:
    """Read a whole idx file of bytes. Raises SourceError naming the file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(path, file, num_dimensions)
            # No more, whatever a hostile file unpacks to.
            content = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if len(content) != math.prod(shape):
        held = "more" if len(content) > math.prod(shape) else f"{len(content)}"
        raise SourceError(f"{path} holds {held} values where its header says {shape}")
    # (prod(shape),) -> shape
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_shape(
    path: Path, file: IO[bytes] | gzip.GzipFile, num_dimensions: int
) -> tuple[int, ...]:
    header = struct.Struct(f">{1 + num_dimensions}I")
    content = file.read(header.size)
    if len(content) < header.size:
        raise SourceError(f"{path} is too short for an idx file")
    magic, *shape = header.unpack(content)
    if magic != _MAGIC[num_dimensions]:
        raise SourceError(f"{path} is no idx file of bytes with {num_dimensions} dimensions")
    if math.prod(shape) > _MAX_VALUES:
        raise SourceError(
            f"{path} says that it holds {math.prod(shape)} values, more than {_MAX_VALUES}; fetch "
            "it again"
        )
    return tuple(shape)
