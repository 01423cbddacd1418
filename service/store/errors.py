"""What the store refuses, and what it says when it does not answer."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError


class JobNotFoundError(LookupError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")


class UnreadableJobError(RuntimeError):
    """What is stored of a job cannot be read."""

    def __init__(self, job_id: str, problem: str) -> None:
        super().__init__(
            f"job {job_id} is in the store, but what is stored of it cannot be read: {problem}; "
            "start the release that wrote it, or put back a copy of the store"
        )


class StaleAttemptError(RuntimeError):
    """The attempt is no longer the current one of its job, or has ended."""

    def __init__(self, job_id: str, number: int) -> None:
        super().__init__(f"attempt {number} of job {job_id} is no longer current: stop")


class ChangedMeanwhileError(RuntimeError):
    """A decision was made about a job that has changed since; decide again."""


# Undefined table, undefined column.
_OTHER_SCHEMA = frozenset({"42P01", "42703"})


def has_other_schema(error: DBAPIError) -> bool:
    """Whether PostgreSQL refused a query because no leader has brought the store to this release.

    SQLite's driver tells of that by an OperationalError, as of whatever else will pass.
    """
    return getattr(error.orig, "sqlstate", None) in _OTHER_SCHEMA


def why_no_answer(error: DBAPIError | NoConnectionError) -> str:
    """Say why the store does not answer, without where it is."""
    if isinstance(error, NoConnectionError):
        return "every connection to it is in use"
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig)
    # What the server itself says; without one, the driver tells of addresses.
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "message_primary", None) or "it cannot be reached"
