"""Our reader; as float32 with what the trainer does to a batch, on the CPU.

python -m tests.bench.data.our_reader BATCH CROP PROCESSES {uint8,centre,float32,colour} FOLDER
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from data_shards.feeding.plan import ReaderPlan
from data_shards.feeding.reader import Batch, Reader
from data_shards.shards.sidecars import load_mean_image
from tests.bench.data import sets
from tests.bench.data.turns import take_turns
from trainer.devices import machine
from trainer.learning.preprocess import Colour, Preprocess


def main() -> None:
    """Read as a training job does: shuffled, every epoch otherwise."""
    batch, crop, processes, output, folder = sys.argv[1:]
    cpu = torch.device("cpu")
    # More threads would wait, spinning, on cores that the loaders need.
    machine.settle((cpu, cpu), num_threads=1)
    plan = ReaderPlan(
        location=folder,
        seed=0,
        global_batch_size=int(batch),
        crop_size=int(crop),
        num_streams=8,
        window=4,
        random_crop=output != "centre",
        mirror=output != "centre",
    )
    with Reader(plan, num_processes=int(processes)) as reader:
        prepare = preprocess(reader, output)
        steps = reader.steps_per_epoch
        next_step = 0

        def epoch() -> Iterator[int]:
            nonlocal next_step
            first, next_step = next_step, next_step + steps
            for each in reader.batches(first, next_step):
                prepare(each)
                yield int(each.real.sum())

        def first_batch_ever() -> dict[str, object]:
            # A changed file is digested again, as one that was never read is.
            for shard in sets.shard_paths(Path(folder)):
                os.utime(shard)
            # Until it is remembered once more that they were.
            time.sleep(2.1)
            return first_batch()

        def first_batch() -> dict[str, object]:
            started = time.perf_counter()
            with Reader(plan, num_processes=int(processes)) as another:
                next(another.batches(0, steps))
                return {"seconds": round(time.perf_counter() - started, 3)}

        versions = {"numpy": np.__version__, "torch": torch.__version__}
        commands = {"first": first_batch, "first_ever": first_batch_ever}
        take_turns(epoch, about={"versions": versions}, **commands)


def preprocess(reader: Reader, output: str) -> Callable[[Batch], object]:
    """Return what becomes of a batch: nothing, or float32 (n, 3, c, c) less the mean image."""
    if output in ("uint8", "centre"):
        return lambda batch: batch.images
    manifest = reader.manifest
    colour = Colour(manifest.rgb_pca, 0.1, "paper") if output == "colour" else None
    cpu = torch.device("cpu")
    mean_image = load_mean_image(reader.plan.location, manifest)
    return Preprocess(mean_image, colour, (cpu, cpu), torch.float32)


if __name__ == "__main__":
    main()
