"""The order in which samples are presented: a pure function of shard sizes and a few numbers.

Nothing here depends on replicas, processes or what happened before, so the position in the data
is the step, and a run can go on from any step at once.

Randomness is numpy's Philox4x64 with key (seed, epoch): a counter-based generator whose raw output
is fixed for good (random_raw), unlike the methods of numpy's Generator. Permutations are made by
sorting the raw numbers, with the position in their low bits so that no two are equal.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_shards.arrays import Bools, Int64s, Uint64s

# Philox counters at which each use of the generator starts; far apart, so they never meet.
_SHARD_COUNTER = 0
_SAMPLE_COUNTER = 1 << 192
_PACKING_COUNTER = 2 << 192


@dataclass(frozen=True)
class EpochOrder:
    """One epoch's samples, cut into streams."""

    samples: Int64s
    """(N,) global sample indices, stream after stream; each index once."""
    stream_starts: Int64s
    """(num_streams + 1,) where each stream begins in `samples`; the last is N."""

    @property
    def num_streams(self) -> int:
        """Streams the epoch is cut into."""
        return len(self.stream_starts) - 1

    def batch(self, step: int, global_batch_size: int) -> tuple[Int64s, Bools]:
        """Return (samples, real), both (global_batch_size,), of step `step` of this epoch.

        Stream s fills places [s·b, (s+1)·b), b = global_batch_size / num_streams. Where a stream
        has run out, `real` is False and the sample is 0.
        """
        per_stream, rest = divmod(global_batch_size, self.num_streams)
        assert rest == 0, "the streams divide the global batch"
        starts, stops = self.stream_starts[:-1], self.stream_starts[1:]
        # (num_streams, 1) + (per_stream,) -> (num_streams, per_stream)
        places = (starts + step * per_stream)[:, None] + np.arange(per_stream)
        real = places < stops[:, None]
        samples = np.where(real, self.samples[np.minimum(places, len(self.samples) - 1)], 0)
        return samples.reshape(-1), real.reshape(-1)


def steps_per_epoch(num_samples: int, global_batch_size: int) -> int:
    """Return ⌈N/B⌉: streams differ in length by at most one, so none needs a step more."""
    return -(-num_samples // global_batch_size)


def epoch_order(
    shard_sizes: Sequence[int], *, seed: int, epoch: int, num_streams: int, window: int
) -> EpochOrder:
    """Shuffle one epoch; shard_sizes are sample counts in the manifest's order.

    The shards are permuted and laid end to end; the sequence is cut into `num_streams` streams
    whose lengths differ by at most one; within a stream, samples are shuffled inside windows of
    `window` consecutive shards (a shard cut between two streams counts in both).
    """
    sizes = np.asarray(shard_sizes, dtype=np.int64)
    num_samples = int(sizes.sum())
    shards = _permutation(_raw(len(sizes), seed=seed, epoch=epoch, counter=_SHARD_COUNTER))
    # (num_shards,) where each shard begins, in manifest order and in the permuted sequence
    firsts = np.cumsum(sizes) - sizes
    ends = np.cumsum(sizes[shards])
    begins = ends - sizes[shards]
    sequence = np.repeat(firsts[shards] - begins, sizes[shards]) + np.arange(num_samples)

    stream_starts = np.arange(num_streams + 1, dtype=np.int64) * num_samples // num_streams
    keys = _raw(num_samples, seed=seed, epoch=epoch, counter=_SAMPLE_COUNTER)
    samples = np.empty(num_samples, dtype=np.int64)
    for start, stop in _windows(stream_starts, ends, window):
        samples[start:stop] = sequence[start:stop][_permutation(keys[start:stop])]
    return EpochOrder(samples=samples, stream_starts=stream_starts)


def sequential_order(num_samples: int) -> EpochOrder:
    """Every sample once, in the manifest's order, as one stream: for validation."""
    return EpochOrder(
        samples=np.arange(num_samples, dtype=np.int64),
        stream_starts=np.array([0, num_samples], dtype=np.int64),
    )


def packing_order(num_samples: int, *, seed: int) -> Int64s:
    """Return (num_samples,) the order in which a source's samples go into shards."""
    return _permutation(_raw(num_samples, seed=seed, epoch=0, counter=_PACKING_COUNTER))


def _windows(stream_starts: Int64s, shard_ends: Int64s, window: int) -> list[tuple[int, int]]:
    """Cut [0, N) at every stream start and, within a stream, after every `window` shards."""
    cuts: list[tuple[int, int]] = []
    for begin, end in zip(stream_starts[:-1].tolist(), stream_starts[1:].tolist(), strict=True):
        # Ends of shards strictly inside the stream; every window-th of them closes a window.
        low, high = np.searchsorted(shard_ends, [begin, end], side="right")
        inner = shard_ends[low:high]
        edges = [begin, *inner[inner < end][window - 1 :: window].tolist(), end]
        cuts.extend((a, b) for a, b in itertools.pairwise(edges) if a < b)
    return cuts


def _raw(count: int, *, seed: int, epoch: int, counter: int) -> Uint64s:
    key = np.array([seed, epoch], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def _permutation(keys: Uint64s) -> Int64s:
    """Return (n,) a permutation of range(n), decided by n random 64-bit numbers alone."""
    bits = np.uint64(max(len(keys) - 1, 1).bit_length())
    mask = (np.uint64(1) << bits) - np.uint64(1)
    # Distinct by their low bits, so the result is the same whatever the sorting algorithm.
    packed = (keys & ~mask) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    return (packed & mask).astype(np.int64)
