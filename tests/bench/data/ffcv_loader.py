"""FFCV's loader, uint8 crops, in an environment of its own.

python -m tests.bench.data.ffcv_loader BATCH CROP SIZE THREADS {random,centre} BETON
"""

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import RandomHorizontalFlip, ToTensor

from tests.bench.data.turns import take_turns


def main() -> None:
    """Read at random from the page cache, as FFCV's guide has it where memory holds the file."""
    batch, crop, size, threads, where, beton = sys.argv[1:]
    edge = int(crop)
    # A share of the image that is a crop of just this edge: nothing is scaled.
    share = (edge / int(size)) ** 2
    decoder = {
        "random": [
            RandomResizedCropRGBImageDecoder((edge, edge), scale=(share, share), ratio=(1, 1)),
            RandomHorizontalFlip(),
        ],
        "centre": [CenterCropRGBImageDecoder((edge, edge), ratio=edge / int(size))],
    }[where]
    loader = Loader(
        str(Path(beton)),
        batch_size=int(batch),
        num_workers=int(threads),
        order=OrderOption.RANDOM,
        os_cache=True,
        pipelines={"image": [*decoder, ToTensor()], "label": [IntDecoder(), ToTensor()]},
    )

    def epoch() -> Iterator[int]:
        for images, _ in loader:
            assert images.dtype == torch.uint8
            yield len(images)

    versions = {"ffcv": importlib.metadata.version("ffcv"), "torch beside ffcv": torch.__version__}
    take_turns(epoch, about={"versions": versions})


if __name__ == "__main__":
    main()
