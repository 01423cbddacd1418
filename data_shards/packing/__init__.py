"""From a source of images to shards."""
