"""What batches cost to feed: seconds by stage, bytes by source, what the shard cache was asked."""

import operator
from collections.abc import Mapping
from typing import Literal, NamedTuple

# Few, for a metric has a series for each.
Stage = Literal["fetch", "read", "decode", "augment", "collate"]
Source = Literal["local", "cache", "remote"]
CacheResult = Literal["hit", "miss"]


class FeedCost(NamedTuple):
    """Of some batches. Seconds are of all processes that feed, together."""

    fetch_s: float = 0.0
    """Opening shards by way of the node's cache: fetching them, or waiting for who does."""
    read_s: float = 0.0
    """Opening and checking shards, and asking the disk; what is in memory comes with decoding."""
    decode_s: float = 0.0
    """Decoding, cropping and reflecting: one pass."""
    augment_s: float = 0.0
    """Drawing crops, reflections and colours; a device applies the colours."""
    collate_s: float = 0.0
    """The rest of a batch: labels, weights, keys, places that hold no image."""
    local_bytes: int = 0
    """Of stored images in files of this machine."""
    cache_bytes: int = 0
    """Of stored images in the node's copies of shards."""
    remote_bytes: int = 0
    """Fetched from an object store."""
    cache_hits: int = 0
    """Openings of a shard that the node's cache had."""
    cache_misses: int = 0
    """Shards that were fetched for it, ahead of the loaders or by them."""

    def plus(self, other: "FeedCost") -> "FeedCost":
        """Return the cost of both."""
        return FeedCost(*map(operator.add, self, other))

    def stage_seconds(self) -> Mapping[Stage, float]:
        """Return the seconds of each stage."""
        return {
            "fetch": self.fetch_s,
            "read": self.read_s,
            "decode": self.decode_s,
            "augment": self.augment_s,
            "collate": self.collate_s,
        }

    def read_bytes(self) -> Mapping[Source, int]:
        """Return the bytes that came of each source."""
        return {"local": self.local_bytes, "cache": self.cache_bytes, "remote": self.remote_bytes}

    def cache_requests(self) -> Mapping[CacheResult, int]:
        """Return how often the node's cache had a shard, and how often not."""
        return {"hit": self.cache_hits, "miss": self.cache_misses}


NO_COST = FeedCost()
