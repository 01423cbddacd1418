"""The page that people keep open while it trains: /ui/, without a build step."""
