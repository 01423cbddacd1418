"""Batches as the reader gives them, made without one."""

from dataclasses import replace

import numpy as np

from data_shards.feeding.reader import Batch


def make_batch(
    *,
    num_images: int = 8,
    crop_size: int = 64,
    num_positions: int = 9,
    num_classes: int = 10,
    step: int = 0,
    seed: int = 0,
    num_real: int | None = None,
) -> Batch:
    """Return random images of which the first `num_real` are real."""
    random = np.random.default_rng(seed)
    real = np.arange(num_images) < (num_images if num_real is None else num_real)
    return Batch(
        step=step,
        epoch=0,
        images=random.integers(0, 256, (num_images, crop_size, crop_size, 3), dtype=np.uint8),
        labels=random.integers(0, num_classes, num_images),
        real=real,
        samples=np.arange(num_images, dtype=np.int64),
        offsets=random.integers(0, num_positions, (num_images, 2)),
        mirrored=random.integers(0, 2, num_images).astype(bool),
        colour=random.normal(size=(num_images, 3)).astype(np.float32),
        corrupt=(),
    )


def whole(batch: Batch) -> Batch:
    """Return the batch with its images taken for whole ones, as validation reads them."""
    return replace(
        batch, offsets=np.zeros_like(batch.offsets), mirrored=np.zeros_like(batch.mirrored)
    )


def share(batch: Batch, start: int, stop: int) -> Batch:
    """Return a replica's places of a global batch."""
    places = slice(start, stop)
    return Batch(
        step=batch.step,
        epoch=batch.epoch,
        images=batch.images[places],
        labels=batch.labels[places],
        real=batch.real[places],
        samples=batch.samples[places],
        offsets=batch.offsets[places],
        mirrored=batch.mirrored[places],
        colour=batch.colour[places],
        corrupt=(),
    )
