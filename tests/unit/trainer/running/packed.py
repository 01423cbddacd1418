"""A small set of packed pictures, for training and validation alike."""

from pathlib import Path

import numpy as np
from PIL import Image

from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.sources.choose import open_source

STORED = 72
NUM_IMAGES = 50


def pack_pictures(root: Path) -> Path:
    """Pack noisy pictures of two classes into one shard; return its folder."""
    random = np.random.default_rng(4)
    for number in range(NUM_IMAGES):
        file = root / "images" / f"class-{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((STORED, STORED)).save(file)
    request = PackRequest(
        source=open_source(root / "images", "train"),
        split="train",
        size=STORED,
        encoding="jpeg",
        quality=90,
        samples_per_shard=NUM_IMAGES,
        limit=None,
        seed=1,
    )
    pack(request, root / "packed", num_processes=1)
    return root / "packed"
