"""Pack, verify, order and stream WebDataset shards. Knows neither Ray nor the service."""
