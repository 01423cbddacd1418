"""What the store refuses."""


class JobNotFoundError(LookupError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")


class StaleAttemptError(RuntimeError):
    """The attempt is no longer the current one of its job, or has ended."""

    def __init__(self, job_id: str, number: int) -> None:
        super().__init__(f"attempt {number} of job {job_id} is no longer current: stop")


class ChangedMeanwhileError(RuntimeError):
    """A decision was made about a job that has changed since; decide again."""
