"""Which shards an epoch needs when, so that remote ones are there in time; pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_shards.arrays import Int64s
from data_shards.errors import PlanError
from data_shards.feeding.plan import ReaderPlan
from data_shards.manifest import Manifest
from data_shards.order import EpochOrder

# Columns of uses, int64 (num_uses, 3); steps are those of the epoch.
SHARD, FIRST_STEP, LAST_STEP = range(3)


def shards_at_once(plan: ReaderPlan) -> int:
    """Return how many shards a reader holds: those of two windows of each of its streams.

    Two, since one is fetched while the other is read; enough as long as the batches that are in
    work are fewer than a window has. An ordered set is one stream.
    """
    per_stream = plan.global_batch_size // plan.num_streams
    streams = 1 if plan.ordered else -(-plan.replica_batch_size // per_stream)
    return 2 * plan.window * streams


class CacheNeed(NamedTuple):
    """What a node must have of a set at once, if all replicas of a plan read it there."""

    bytes: int
    shards: int
    streams: int
    location: str

    def __str__(self) -> str:
        return f"{self.shards} shards for the {self.streams} streams of {self.location}"


def cache_need(plan: ReaderPlan, manifest: Manifest) -> CacheNeed:
    """Return what a node needs of a set at once: of the largest shards, and its sidecars.

    All streams count, since the replicas may share a node, and a cache that holds too little for
    them drops each shard before it is read to its end. So do the shards cut between two streams,
    which are read at both ends of an epoch and held from one to the other.
    """
    streams = 1 if plan.ordered else plan.num_streams
    sizes = sorted(shard.size_bytes for shard in manifest.shards)
    largest = sizes[-(2 * plan.window * streams + streams - 1) :]
    sidecars = manifest.index.size_bytes + manifest.mean_image.size_bytes
    return CacheNeed(sum(largest) + sidecars, len(largest), streams, plan.location)


def check_cache(needs: Sequence[CacheNeed], max_bytes: int) -> None:
    """Raise PlanError if a cache of `max_bytes` cannot hold what is needed of all sets at once."""
    needed = sum(need.bytes for need in needs)
    if needed > max_bytes:
        raise PlanError(
            f"the shard cache may hold {max_bytes} bytes, and {needed} are needed at once where a "
            f"node has all replicas: {' and '.join(map(str, needs))}; raise "
            "ALEXNET_SHARD_CACHE_BYTES to that for each job of the node, or choose a smaller "
            "window or fewer streams, or pack smaller shards"
        )


def shard_uses(
    order: EpochOrder, shard_of_sample: Int64s, plan: ReaderPlan, share: slice | None = None
) -> Int64s:
    """Return (num_uses, 3): from which step to which a stream reads which shard.

    `shard_of_sample` is (N,); `share` the places of the global batch that count, by default this
    replica's. A use a shard and stream, so that one cut between two streams has two; in the order
    of their first steps.
    """
    share = plan.share if share is None else share
    per_stream = plan.global_batch_size // order.num_streams
    uses = []
    for stream in range(order.num_streams):
        start, stop = order.stream_starts[stream : stream + 2].tolist()
        step, place = np.divmod(np.arange(stop - start), per_stream)
        place += stream * per_stream
        mine = (place >= share.start) & (place < share.stop)
        shards, steps = shard_of_sample[order.samples[start:stop][mine]], step[mine]
        # np.unique returns where each shard comes first.
        which, first = np.unique(shards, return_index=True)
        _, last = np.unique(shards[::-1], return_index=True)
        uses.append(np.stack([which, steps[first], steps[::-1][last]], axis=1))
    table = np.concatenate(uses)
    return table[np.lexsort((table[:, SHARD], table[:, FIRST_STEP]))]


def cut_shards(order: EpochOrder, shard_of_sample: Int64s, plan: ReaderPlan) -> Int64s:
    """Return (num_cut, 3): shards that several streams read, from the first use to the last.

    Of all replicas, since those that share a node share its cache.
    """
    uses = shard_uses(order, shard_of_sample, plan, slice(0, plan.global_batch_size))
    shards, count = np.unique(uses[:, SHARD], return_counts=True)
    rows = [
        (shard, uses[mine, FIRST_STEP].min(), uses[mine, LAST_STEP].max())
        for shard in shards[count > 1]
        for mine in [uses[:, SHARD] == shard]
    ]
    return np.asarray(rows, dtype=np.int64).reshape(-1, 3)


def held_shards(cut: Int64s, step: int) -> list[int]:
    """Return which of the shards cut between streams are between their uses at a step."""
    between = (cut[:, FIRST_STEP] <= step) & (step <= cut[:, LAST_STEP])
    return list(map(int, cut[between, SHARD]))


def wanted_shards(uses: Int64s, step: int, limit: int) -> list[int]:
    """Return the shards to have at a step, at most `limit`, those needed first before others.

    `uses` may be those of several epochs, their steps counted from the first one's beginning.
    """
    still = uses[uses[:, LAST_STEP] >= step, SHARD]
    return list(dict.fromkeys(still.tolist()))[:limit]
