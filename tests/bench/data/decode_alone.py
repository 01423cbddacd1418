"""The limit: JPEGs in memory decoded by libjpeg-turbo on every core, and nothing else.

python -m tests.bench.data.decode_alone SIZE PROCESSES SHARD...
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
    size, processes, *shards = sys.argv[1:]
    for shard in shards:
        with tarfile.open(shard) as tar:
            files = [tar.extractfile(member) for member in tar if member.name.endswith(".jpg")]
            _jpegs.extend(file.read() for file in files if file)
    starts = range(int(processes))
    with multiprocessing.get_context("fork").Pool(len(starts)) as pool:

        def epoch() -> Iterator[int]:
            yield 0
            shares = [(start, len(starts), int(size)) for start in starts]
            yield sum(pool.starmap(_decode, shares, chunksize=1))

        versions = {"simplejpeg": importlib.metadata.version("simplejpeg")}
        take_turns(epoch, about={"versions": versions})


def _decode(start: int, step: int, size: int) -> int:
    """Decode every `step`-th image into one that is used again; return how many."""
    image = np.empty((size, size, 3), dtype=np.uint8)
    share = _jpegs[start::step]
    for jpeg in share:
        simplejpeg.decode_jpeg(jpeg, buffer=image)
    return len(share)


if __name__ == "__main__":
    main()
