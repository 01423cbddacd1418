"""The store: jobs, attempts and what they tell, in SQLite or PostgreSQL. SQL stands here only."""
