"""Jobs by a part of their name, or the start of their id: a window of them is looked through.

Names are in the specs, which no index has; so each page looks at so many jobs at most, and the
next goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select

from service.access.caller import Caller
from service.jobs.records import JobRecord, UnreadableJob
from service.store.dialects import IsJson
from service.store.jobs import read_jobs
from service.store.ownership import visible_to
from service.store.rows import STORED_JOBS
from service.store.tables import jobs, labels
from trainer.contract.status import Status

# Looked through in some tenths of a second by SQLite (measured).
WINDOW = 20_000


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of what was found."""

    jobs: Sequence[JobRecord | UnreadableJob]
    next_cursor: int | None
    """Job from which to go on; None: there are no others."""


def search_jobs(
    connection: Connection,
    text: str,
    labelled: Sequence[tuple[str, str]],
    *,
    status: Status | None,
    owner: str | None = None,
    seen_by: Caller,
    before_seq: int | None,
    oldest_first: bool = False,
    limit: int,
    window: int = WINDOW,
) -> Found:
    """Return the newest `limit` jobs that are asked for, of `window` that there are, or the oldest.

    `before_seq`: which job comes before them in that order. A whole id finds its job however old
    it is.
    """
    told = [visible_to(seen_by), *(_has_label(*one) for one in labelled)]
    if status is not None:
        told.append(jobs.c.status == status)
    if owner is not None:
        told.append(jobs.c.owner == owner)
    if before_seq is None:
        of_id = read_jobs(connection, STORED_JOBS.where(jobs.c.id == text.strip(), *told))
        if of_id:
            return Found(jobs=of_id, next_cursor=None)
    newest = connection.execute(select(func.max(jobs.c.seq))).scalar() or 0
    if oldest_first:
        first = before_seq or 0
        last = first + window
        looked_at = and_(jobs.c.seq > first, jobs.c.seq <= last)
        is_end, by_age = last >= newest, jobs.c.seq.asc()
    else:
        first = before_seq or newest + 1
        last = first - window
        looked_at = and_(jobs.c.seq < first, jobs.c.seq >= last)
        is_end, by_age = last <= 1, jobs.c.seq.desc()
    query = STORED_JOBS.where(looked_at, _is_named(text), *told).order_by(by_age).limit(limit + 1)
    found = read_jobs(connection, query)
    if len(found) > limit:
        return Found(jobs=found[:limit], next_cursor=found[limit - 1].seq)
    return Found(jobs=found, next_cursor=None if is_end else last)


def _has_label(key: str, value: str) -> ColumnElement[bool]:
    label = labels.alias()
    return exists().where(label.c.job_id == jobs.c.id, label.c.key == key, label.c.value == value)


def _is_named(text: str) -> ColumnElement[bool]:
    sought = text.strip().lower()
    name = case((IsJson(jobs.c.spec), jobs.c.spec["name"].as_string()))
    return or_(
        func.lower(name).contains(sought, autoescape=True),
        jobs.c.id.startswith(sought, autoescape=True),
    )
