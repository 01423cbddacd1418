"""What happened to a job, for people: its newest events, and those of some kinds."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Select, func, select

from service.jobs.records import EventRecord
from service.store.rows import event_of
from service.store.tables import events


def newest_event(connection: Connection, job_id: str) -> int:
    """Return the number of a job's newest event; 0: there is none."""
    query = select(func.max(events.c.number)).where(events.c.job_id == job_id)
    return connection.execute(query).scalar() or 0


def newest_events(connection: Connection, job_id: str, *, limit: int) -> list[EventRecord]:
    """Return the newest events of a job, the newest first."""
    return _read(connection, select(events).where(events.c.job_id == job_id), limit)


def newest_of_kinds(
    connection: Connection, job_id: str, kinds: Collection[str], *, limit: int
) -> list[EventRecord]:
    """Return the newest events of some kinds, the newest first."""
    kind = events.c.data["kind"].as_string()
    query = select(events).where(events.c.job_id == job_id, kind.in_(kinds))
    return _read(connection, query, limit)


def _read(connection: Connection, query: Select[Any], limit: int) -> list[EventRecord]:
    rows = connection.execute(query.order_by(events.c.number.desc()).limit(limit))
    return [event_of(row) for row in rows]
