"""What most people write: webdataset, PIL, torchvision's transforms, torch's DataLoader.

python -m tests.bench.data.webdataset_loader BATCH CROP PROCESSES {float32,uint8} SHARD...
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
import torchvision
import webdataset
from PIL import Image
from torchvision import transforms

from tests.bench.data.turns import take_turns

# ImageNet's, as everybody's code has them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Read in order; a buffer to shuffle in would cost more."""
    batch, crop, processes, dtype, *shards = sys.argv[1:]
    to_tensor = {
        "float32": [transforms.ToTensor(), transforms.Normalize(MEAN, STD)],
        "uint8": [transforms.Lambda(pixels)],
    }[dtype]
    transform = transforms.Compose(
        [transforms.RandomCrop(int(crop)), transforms.RandomHorizontalFlip(), *to_tensor]
    )
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=False)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(transform, int)
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=int(batch), num_workers=int(processes))

    def epoch() -> Iterator[int]:
        for images, _ in loader:
            yield len(images)

    versions = {
        "webdataset": webdataset.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    take_turns(epoch, about={"versions": versions})


def pixels(image: Image.Image) -> torch.Tensor:
    """Return uint8 (h, w, 3)."""
    return torch.from_numpy(np.array(image))


if __name__ == "__main__":
    main()
