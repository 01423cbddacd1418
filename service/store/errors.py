"""What the store refuses, and what it says when it does not answer."""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
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


class NotWrittenError(NoConnectionError):
    """A write had no turn: too many waited before it, it waited for too long, or the store closes.

    What was asked for may be asked for again.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"not written: {why}")


# Undefined table, undefined column.
_OTHER_SCHEMA = frozenset({"42P01", "42703"})
_DEADLOCK = "40P01"


def has_other_schema(error: DBAPIError) -> bool:
    """Whether PostgreSQL refused a query because no leader has brought the store to this release.

    SQLite's driver tells of that by an OperationalError, as of whatever else will pass.
    """
    return getattr(error.orig, "sqlstate", None) in _OTHER_SCHEMA


def may_be_of_one_value(error: BaseException) -> bool:
    """Whether what was refused together may be taken apart: for a value, or a deadlock.

    Whatever else the store does not take, a lock that is held or a server that is away, is no
    other for parts of it.
    """
    if isinstance(error, DBAPIError):
        is_deadlock = getattr(error.orig, "sqlstate", None) == _DEADLOCK
        return is_deadlock or isinstance(error, DataError | IntegrityError)
    # What drivers refuse to send, by themselves or through SQLAlchemy.
    return isinstance(error, StatementError | OverflowError | ValueError)


def why_no_answer(error: DBAPIError | NoConnectionError) -> str:
    """Say why the store does not answer, without where it is."""
    if isinstance(error, NotWrittenError):
        return str(error)
    if isinstance(error, NoConnectionError):
        return "every connection to it is in use"
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig)
    # What the server itself says; without one, the driver tells of addresses.
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "message_primary", None) or "it cannot be reached"
