"""The limit: JPEGs in memory decoded by libjpeg-turbo on every core, and nothing else.

python -m tests.bench.data.decode_alone BATCH SIZE PROCESSES SHARD...
"""

import importlib.metadata
import multiprocessing
import sys
import tarfile
from collections.abc import Iterator

import numpy as np
import simplejpeg

from tests.bench.data.turns import take_turns

_jpegs: list[bytes] = []


def main() -> None:
    """Fork when all is in memory, so that the processes share it."""
    batch, size, processes, *shards = sys.argv[1:]
    for shard in shards:
        with tarfile.open(shard) as tar:
            files = [tar.extractfile(member) for member in tar if member.name.endswith(".jpg")]
            _jpegs.extend(file.read() for file in files if file)
    pieces = [(start, start + int(batch), int(size)) for start in range(0, len(_jpegs), int(batch))]
    with multiprocessing.get_context("fork").Pool(int(processes)) as pool:

        def epoch() -> Iterator[int]:
            # In batches, so that its clock starts like everybody's: with the others in work.
            yield from pool.imap(_decode, pieces)

        versions = {"simplejpeg": importlib.metadata.version("simplejpeg")}
        take_turns(epoch, about={"versions": versions})


def _decode(piece: tuple[int, int, int]) -> int:
    """Decode images [start, stop) into one that is used again; return how many."""
    start, stop, size = piece
    image = np.empty((size, size, 3), dtype=np.uint8)
    share = _jpegs[start:stop]
    for jpeg in share:
        simplejpeg.decode_jpeg(jpeg, buffer=image)
    return len(share)


if __name__ == "__main__":
    main()
