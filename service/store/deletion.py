"""Deleting a job: every row of it."""

from datetime import datetime

from sqlalchemy import Connection, delete, select, tuple_

from service.access.audit import Action
from service.access.caller import Caller
from service.jobs.lifecycle import RefusedError
from service.store.audit import note_audit
from service.store.counters import counts_of, keep_counts
from service.store.errors import JobNotFoundError
from service.store.quotas import gpu_time_of, keep_gpu_time
from service.store.tables import deliveries, events, jobs, metadata, points
from trainer.contract.status import TERMINAL

# Each before what it refers to. What webhooks are still to be told of it goes out all the same.
_ROWS = tuple(
    table
    for table in reversed(metadata.sorted_tables)
    if "job_id" in table.c and table is not deliveries
)

# Of these a job may have hundreds of thousands of rows.
_HISTORY = (points, events)
# What one transaction deletes of each, so that nobody waits for it (measured: 6 ms on SQLite).
ROWS_AT_ONCE = 5000


def check_deletable(connection: Connection, job_id: str) -> None:
    """Raise JobNotFoundError, or RefusedError of a job that has not ended."""
    # Of one that is being written, its end; whatever else is stored of it need not be readable.
    query = select(jobs.c.status).where(jobs.c.id == job_id).with_for_update()
    status = connection.execute(query).scalar_one_or_none()
    if status is None:
        raise JobNotFoundError(job_id)
    if status not in TERMINAL:
        raise RefusedError(f"job {job_id} is {status}; cancel it, and delete it when it has ended")


def delete_some_history(connection: Connection, job_id: str) -> bool:
    """Delete some of the points and events of a job that is being deleted; say if more may be left.

    Raises as check_deletable does.
    """
    check_deletable(connection, job_id)
    is_more = False
    for table in _HISTORY:
        key = table.primary_key.columns
        some = select(*key).where(table.c.job_id == job_id).limit(ROWS_AT_ONCE)
        deleted = connection.execute(delete(table).where(tuple_(*key).in_(some)))
        is_more = is_more or deleted.rowcount == ROWS_AT_ONCE
    return is_more


def delete_job(connection: Connection, job_id: str, by: Caller, now: datetime) -> None:
    """Delete what is stored of a job that has ended, in one transaction.

    `delete_some_history` first leaves it little to do. Raises as check_deletable does.
    """
    check_deletable(connection, job_id)
    taken = gpu_time_of(connection, job_id, now)
    counts = counts_of(connection, job_id)
    for table in _ROWS:
        connection.execute(delete(table).where(table.c.job_id == job_id))
    connection.execute(delete(jobs).where(jobs.c.id == job_id))
    # Last, for other deletions share these rows, and wait for them until this one is committed.
    keep_gpu_time(connection, taken)
    keep_counts(connection, counts)
    note_audit(connection, by, Action.DELETE, job_id, now)
