"""What a job is: its records, its events, and the decisions over them, all pure."""
