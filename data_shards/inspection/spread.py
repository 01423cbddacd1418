"""Which samples of a set to look at: spread over all of it, drawn by a seed; pure."""

import itertools
import random

import numpy as np

from data_shards.arrays import Int64s


def spread_samples(num_samples: int, count: int, *, seed: int) -> Int64s:
    """Return ascending numbers below `num_samples`: one drawn from each of `count` equal parts.

    All of them where there are no more than `count`. (min(count, num_samples),)
    """
    count = min(count, num_samples)
    generator = random.Random(seed)
    bounds = [part * num_samples // count for part in range(count + 1)] if count else [0]
    return np.array(
        [generator.randrange(*part) for part in itertools.pairwise(bounds)],
        dtype=np.int64,
    )


def spread_by_class(labels: Int64s, *, rows: int, columns: int, seed: int) -> list[Int64s]:
    """Return for each of up to `rows` classes, spread over those that have samples, its samples.

    labels: (num_samples,). Each row has up to `columns` numbers, spread over the class.
    """
    present = np.unique(labels)
    chosen = present[spread_samples(len(present), rows, seed=seed)]
    return [
        of_class[spread_samples(len(of_class), columns, seed=seed)]
        for label in chosen
        for of_class in [np.flatnonzero(labels == label)]
    ]
