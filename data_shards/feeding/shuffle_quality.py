"""How well an epoch is shuffled, by several measures; pure.

No single number says it. The rank correlation is near zero as soon as shards are permuted, however
little is shuffled inside them, so measures of locality stand beside it; each is to be read against
its value for a full shuffle of the same samples.
"""

from dataclasses import dataclass

import numpy as np

from data_shards.arrays import Int64s
from data_shards.order import EpochOrder, steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class ShuffleQuality:
    """One epoch as it is presented: step after step, and in a step place after place."""

    rank_correlation: float
    """Spearman's, of a sample's number in the manifest's sequence and its place in the epoch.

    Of a full shuffle it is 0, give or take 1 / sqrt(samples); of permuted shards 0, give or take
    1 / sqrt(shards).
    """
    neighbour_distance: float
    """Mean distance in the epoch of samples that are neighbours in a shard, as a share of the
    epoch; a third in a full shuffle."""
    shards_per_batch: float
    """Mean number of distinct shards in a full batch."""
    classes_per_batch: float
    """Mean number of distinct classes in a full batch."""
    entropy_bits: float
    """MosaicML Streaming's measure: entropy of the differences between successive samples' numbers,
    and that of the differences between their shards, added."""


def presented(order: EpochOrder, global_batch_size: int) -> Int64s:
    """Return (N,) the samples of an epoch in the order in which steps present them."""
    steps = range(steps_per_epoch(len(order.samples), global_batch_size))
    batches = (order.batch(step, global_batch_size) for step in steps)
    return np.concatenate([samples[real] for samples, real in batches])


def shuffle_quality(
    sequence: Int64s, *, shards: Int64s, labels: Int64s, batch_size: int
) -> ShuffleQuality:
    """Measure `sequence`, (N,), the numbers of samples as they are presented.

    `shards` and `labels`, (N,), are of samples by number. Batches are full ones, unless the epoch
    has none.
    """
    places = np.empty_like(sequence)
    places[sequence] = np.arange(len(sequence))
    return ShuffleQuality(
        rank_correlation=_rank_correlation(places),
        neighbour_distance=_neighbour_distance(places, shards),
        shards_per_batch=_distinct_per_batch(shards[sequence], batch_size),
        classes_per_batch=_distinct_per_batch(labels[sequence], batch_size),
        entropy_bits=_entropy_of_differences(sequence) + _entropy_of_differences(shards[sequence]),
    )


def _rank_correlation(places: Int64s) -> float:
    """Return Spearman's ρ = 1 - 6 Σ d² / (n (n² - 1)) of places, a permutation, and 0 ... n - 1."""
    n = len(places)
    if n < 2:
        return 0.0
    differences = (places - np.arange(n)).astype(np.float64)
    return float(1 - 6 * np.square(differences).sum() / (n * (n * n - 1)))


def _neighbour_distance(places: Int64s, shards: Int64s) -> float:
    in_one_shard = shards[1:] == shards[:-1]
    if not in_one_shard.any():
        return 0.0
    return float(np.abs(np.diff(places))[in_one_shard].mean() / len(places))


def _distinct_per_batch(groups: Int64s, batch_size: int) -> float:
    size = min(batch_size, len(groups))
    # (N,) -> (batches, size), sorted so that each group of a batch begins once
    batches = np.sort(groups[: len(groups) // size * size].reshape(-1, size), axis=1)
    return float(1 + (np.diff(batches, axis=1) != 0).sum(axis=1).mean())


def _entropy_of_differences(values: Int64s) -> float:
    differences = np.abs(np.diff(values))
    if not len(differences):
        return 0.0
    counts = np.bincount(differences)
    shares = counts[counts > 0] / len(differences)
    return float(-(shares * np.log2(shares)).sum())
