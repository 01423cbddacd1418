"""How fast images reach the trainer: our reader beside webdataset + PIL + torch's DataLoader.

    python tests/bench/bench_feed.py [--images FOLDER_OR_TAR] [--processes 2] [--rounds 3]

Both read the same shards of 256-pixel JPEGs and give uint8 batches of random 224-pixel crops, half
of them mirrored. They take turns, so that a busy machine slows both; the best round of each counts.
"""

import argparse
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image

from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Reader
from data_shards.manifest import Manifest
from data_shards.packing.pack import pack
from data_shards.packing.request import PackRequest
from data_shards.shards.index import SHARD
from data_shards.shards.sidecars import load_index
from data_shards.sources.choose import open_source

CROP = 224
BATCH = 128
NUM_IMAGES = 4000


def main() -> None:
    """Pack, measure, print a table and one JSON line."""
    arguments = parse()
    if not arguments.images.exists():
        sys.exit(f"{arguments.images} does not exist; name a folder or a tar with --images")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "packed"
        manifest = pack_repeated(arguments.images, Path(name), folder, arguments.processes)
        rates: dict[str, list[float]] = {"decode alone, one core": [], "ours": [], "plain": []}
        with Reader(plan_for(folder), num_processes=arguments.processes) as reader:
            steps = reader.steps_per_epoch
            # An epoch first: pages cached, shards digested.
            list(reader.batches(0, steps))
            for number in range(arguments.rounds):
                first = (number + 1) * steps
                ours = (int(batch.real.sum()) for batch in reader.batches(first, first + steps))
                rates["decode alone, one core"].append(rate(lambda: decode_alone(folder, manifest)))
                rates["ours"].append(rate(lambda counts=ours: counts))
                rates["plain"].append(rate(lambda: plain(folder, manifest, arguments.processes)))
    best = {name: max(values) for name, values in rates.items()}
    for name, value in best.items():
        print(f"{name:24} {value:8,.0f} images/s   rounds {[round(v) for v in rates[name]]}")
    result = {
        "images_per_second": round(best["ours"]),
        "times_plain": round(best["ours"] / best["plain"], 2),
        "of_raw_decode_per_core": round(
            best["ours"] / arguments.processes / best["decode alone, one core"], 2
        ),
        "processes": arguments.processes,
        "cores": len(os.sched_getaffinity(0)),
    }
    print("BENCH", json.dumps(result))


def parse() -> argparse.Namespace:
    """Read the options."""
    default = Path(__file__).parents[3] / "shared" / "data" / "imagenet-125.tar"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=default)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def pack_repeated(images: Path, work: Path, out: Path, num_processes: int) -> Manifest:
    """Pack NUM_IMAGES images: those given, again and again."""
    if images.is_file():
        with tarfile.open(images) as tar:
            tar.extractall(work / "images", filter="data")
        images = next((work / "images").iterdir())
    source = open_source(images, "train")
    repeated = (source.samples * -(-NUM_IMAGES // len(source.samples)))[:NUM_IMAGES]
    request = PackRequest(
        source=type(source)(source.kind, source.classes, repeated, source.sha256, source.loader),
        split="train",
        size=256,
        encoding="jpeg",
        quality=92,
        samples_per_shard=500,
        limit=None,
        seed=0,
    )
    return pack(request, out, num_processes=num_processes).manifest


def plan_for(folder: Path) -> ReaderPlan:
    """Read it as training would."""
    return ReaderPlan(
        folder=folder, seed=0, global_batch_size=BATCH, crop_size=CROP, num_streams=8, window=4
    )


def rate(counts: Callable[[], Iterator[int]]) -> float:
    """Images a second, start-up of what `counts` starts left out by skipping its first count."""
    each = counts()
    next(each)
    started = time.perf_counter()
    return sum(each) / (time.perf_counter() - started)


def decode_alone(folder: Path, manifest: Manifest) -> Iterator[int]:
    """Decode the first shard's images from memory, in this process."""
    content = (folder / manifest.shards[0].name).read_bytes()
    index = load_index(folder, manifest)
    image = np.empty((256, 256, 3), dtype=np.uint8)
    for _, offset, size, _ in index[index[:, SHARD] == 0].tolist():
        simplejpeg.decode_jpeg(content[offset : offset + size], buffer=image)
        yield 1


def plain(folder: Path, manifest: Manifest, num_processes: int) -> Iterator[int]:
    """Read as webdataset's documentation does: PIL, a transform, torch's DataLoader."""
    urls = [str(folder / shard.name) for shard in manifest.shards]
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "cls")
    loader = torch.utils.data.DataLoader(
        dataset.map_tuple(crop_and_mirror, int), batch_size=BATCH, num_workers=num_processes
    )
    for images, _ in loader:
        yield len(images)


def crop_and_mirror(image: Image.Image) -> torch.Tensor:
    """A random crop, reflected half of the time: uint8 (224, 224, 3)."""
    left, top, mirror = torch.randint(0, 256 - CROP + 1, (3,)).tolist()
    crop = image.crop((left, top, left + CROP, top + CROP))
    if mirror % 2:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(crop))


if __name__ == "__main__":
    main()
