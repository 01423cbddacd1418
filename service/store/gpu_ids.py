"""Which GPUs attempts say that they were given."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from service.store.jobs import UNREADABLE
from service.store.rows import event_of
from service.store.tables import events, jobs
from trainer.contract.events import Started

GpuIds = tuple[tuple[str, ...], ...]
"""Of each replica of an attempt."""
Attempt = tuple[str, int]
"""A job's id, and the number of one of its attempts."""


def read_gpu_ids(connection: Connection, job_ids: Collection[str]) -> Mapping[Attempt, GpuIds]:
    """Return the GPUs of the jobs' newest attempts, of those that have told of anything.

    An attempt that told of none never will.
    """
    # An attempt begins with it.
    query = (
        select(events)
        .join(jobs, (jobs.c.id == events.c.job_id) & (jobs.c.attempt == events.c.attempt))
        .where(jobs.c.id.in_(job_ids), events.c.attempt_event == 1)
    )
    told: dict[Attempt, GpuIds] = {}
    for row in connection.execute(query):
        told[row.job_id, row.attempt] = _gpus_of(row)
    return told


def _gpus_of(row: Row[Any]) -> GpuIds:
    try:
        data = event_of(row).data
    except UNREADABLE:
        return ()
    return data.gpu_ids if isinstance(data, Started) else ()
