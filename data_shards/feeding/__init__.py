"""From shards to batches: order, draws, reading, decoding."""
