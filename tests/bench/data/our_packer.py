"""Our packer: the whole of `pack`, from a listed source to a manifest.

python -m tests.bench.data.our_packer SIZE QUALITY PROCESSES FOLDER OUT
"""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.sources.choose import open_source
from tests.bench.data.turns import take_turns


def main() -> None:
    """Pack anew each time; mean image, PCA, digests and all."""
    size, quality, processes, folder, out = sys.argv[1:]
    request = PackRequest(
        source=open_source(Path(folder), "train"),
        split="train",
        size=int(size),
        encoding="jpeg",
        quality=int(quality),
        samples_per_shard=512,
        limit=None,
        seed=0,
    )

    def epoch() -> Iterator[int]:
        yield 0
        manifest = pack(
            request,
            Path(out),
            num_processes=int(processes),
            force=True,
        ).manifest
        yield manifest.num_samples

    take_turns(epoch, about={"versions": {"python": platform.python_version()}})


if __name__ == "__main__":
    main()
