"""What the service and the trainer share: pydantic and the standard library, nothing else."""
