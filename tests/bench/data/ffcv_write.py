"""The images of raw shards, written as FFCV's files by its own writer, in its environment.

python -m tests.bench.data.ffcv_write {jpg,raw} SIZE QUALITY BETON SHARD...
"""

import os
import sys
import tarfile
from pathlib import Path

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.writer import DatasetWriter


class RawShards:
    """Pixels and label of each sample, by number."""

    def __init__(self, shards: list[str], size: int) -> None:
        self._size = size
        self._places: list[tuple[str, int, int]] = []
        for shard in shards:
            labels: dict[str, int] = {}
            offsets: dict[str, int] = {}
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, suffix = member.name.split(".", 1)
                    if suffix == "rgb":
                        offsets[key] = member.offset_data
                    elif suffix == "cls" and (file := tar.extractfile(member)):
                        labels[key] = int(file.read())
            self._places += [(shard, offsets[key], labels[key]) for key in sorted(offsets)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        shard, offset, label = self._places[number]
        shape = (self._size, self._size, 3)
        return np.fromfile(shard, np.uint8, int(np.prod(shape)), offset=offset).reshape(
            shape
        ), label


def main() -> None:
    """Write under another name first: a file under its own is whole."""
    mode, size, quality, beton, *shards = sys.argv[1:]
    image = RGBImageField(write_mode=mode, max_resolution=int(size), jpeg_quality=int(quality))
    growing = Path(f"{beton}.growing")
    writer = DatasetWriter(
        str(growing),
        {"image": image, "label": IntField()},
        num_workers=len(os.sched_getaffinity(0)),
    )
    writer.from_indexed_dataset(RawShards(shards, int(size)))
    growing.rename(beton)


if __name__ == "__main__":
    main()
