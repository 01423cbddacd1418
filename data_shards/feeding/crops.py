"""Where the images of a step are cropped and which are mirrored; pure."""

import numpy as np

from data_shards.arrays import Bools, Int64s
from data_shards.feeding import draws
from data_shards.feeding.plan import ReaderPlan


def crops(
    plan: ReaderPlan, samples: Int64s, *, epoch: int, step: int, margin: int
) -> tuple[Int64s, Bools]:
    """Return (n, 2) offsets (row, column) and (n,) mirrored of a replica's share of a step.

    `samples`, (n,), are its places of the global batch; `step` counts within the epoch; `margin` is
    how many pixels the stored image is larger than the crop. A place without a sample takes part.
    """
    unit: draws.Unit = "sample" if plan.images_per_crop == 1 else "chunk"
    numbers = samples if unit == "sample" else _chunks(plan, step)
    if plan.random_crop:
        offsets = draws.crop_offsets(
            numbers, seed=plan.seed, epoch=epoch, num_positions=margin + 1, unit=unit
        )
    else:
        offsets = np.full((len(samples), 2), margin // 2, dtype=np.int64)
    if plan.mirror:
        mirrored = draws.mirrored(numbers, seed=plan.seed, epoch=epoch, unit=unit)
    else:
        mirrored = np.zeros(len(samples), dtype=np.bool_)
    return offsets, mirrored


def _chunks(plan: ReaderPlan, step: int) -> Int64s:
    """Return (n,) the chunk that each place of the replica's share belongs to.

    Chunks follow one another through the epoch, whatever the batch and the replicas are.
    """
    first = step * plan.global_batch_size + plan.replica * plan.replica_batch_size
    return (first + np.arange(plan.replica_batch_size, dtype=np.int64)) // plan.images_per_crop
