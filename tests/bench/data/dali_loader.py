"""NVIDIA DALI's CPU pipeline, in an environment of its own.

python -m tests.bench.data.dali_loader BATCH CROP THREADS IMAGES SHARD...
"""

import sys
from collections.abc import Iterator

from nvidia import dali
from nvidia.dali import fn, types

from tests.bench.data.turns import take_turns

MEAN = [255 * mean for mean in (0.485, 0.456, 0.406)]


@dali.pipeline_def(device_id=None, seed=0)  # type: ignore[untyped-decorator]  # has no types
def pipeline(shards: list[str], crop: int):
    """Read in order, decode on the CPU; float32 (n, 3, c, c) less a mean."""
    jpegs, labels = fn.readers.webdataset(paths=shards, ext=["jpg", "cls"], name="shards")
    images = fn.decoders.image(jpegs, device="cpu", output_type=types.RGB)
    images = fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        crop=(crop, crop),
        crop_pos_x=fn.random.uniform(range=(0.0, 1.0)),
        crop_pos_y=fn.random.uniform(range=(0.0, 1.0)),
        mirror=fn.random.coin_flip(),
        mean=MEAN,
    )
    return images, labels


def main() -> None:
    """Take the outputs as DALI holds them: a plugin for torch would copy them once more."""
    batch, crop, threads, images, *shards = sys.argv[1:]
    pipe = pipeline(shards, int(crop), batch_size=int(batch), num_threads=int(threads))
    pipe.build()

    def epoch() -> Iterator[int]:
        for _ in range(int(images) // int(batch)):
            yield len(pipe.run()[0])

    take_turns(epoch, about={"versions": {"dali": dali.__version__}})


if __name__ == "__main__":
    main()
