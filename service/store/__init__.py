"""The store: jobs, attempts, events and checkpoints, in SQLite. SQL stands here only."""
