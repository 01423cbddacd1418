"""Points of jobs that are over, thinned out a few at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from service.jobs.history import bucket_width, thinned
from service.store.points import ends, ends_of_job
from service.store.tables import jobs, points
from trainer.contract.status import TERMINAL

# What one transaction goes through, so that nobody waits for it (assumed).
STEPS_AT_ONCE = 2000


@dataclass(frozen=True)
class EndedJob:
    """A job that is over, as far as thinning goes."""

    seq: int
    id: str
    finished_at: datetime


@dataclass(frozen=True, order=True)
class Position:
    """How far a job is thinned: in which attempt, up to which step."""

    attempt: int
    step: int


START = Position(0, 0)


def ended_jobs(connection: Connection, *, after_seq: int, limit: int) -> list[EndedJob]:
    """Return jobs that are over, the oldest first, from those after a job on."""
    query = (
        select(jobs.c.seq, jobs.c.id, jobs.c.finished_at)
        .where(jobs.c.seq > after_seq, jobs.c.status.in_(TERMINAL))
        .where(jobs.c.finished_at.is_not(None))
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    return [EndedJob(*row) for row in connection.execute(query)]


def with_more_points(connection: Connection, job_ids: Collection[str], than: int) -> set[str]:
    """Return which jobs have more points than so many, without counting the others."""
    one_more = (
        select(points.c.step).where(points.c.job_id == jobs.c.id).offset(than).limit(1)
    ).scalar_subquery()
    query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), one_more.is_not(None))
    return set(connection.execute(query).scalars())


def thin(
    connection: Connection, job_id: str, *, at_most: int, position: Position = START
) -> Position | None:
    """Thin out a few points of a job to about `at_most` in all; None: there are no more.

    Whoever gives each answer as the next `position` has gone through all of them.
    """
    first, last = ends_of_job(connection, job_id)
    if first is None or last is None:
        return None
    width = bucket_width(first, last, at_most=at_most)
    attempt = connection.execute(
        select(func.min(points.c.attempt)).where(
            points.c.job_id == job_id, points.c.attempt >= position.attempt
        )
    ).scalar()
    if attempt is None:
        return None
    is_of_attempt = (points.c.job_id == job_id) & (points.c.attempt == attempt)
    attempt_first, attempt_last = ends(connection, is_of_attempt)
    assert attempt_first is not None
    assert attempt_last is not None
    # Whole ranges at a time: of each the first step is there to be seen.
    start = max(position.step if attempt == position.attempt else 0, attempt_first)
    start -= (start - first) % width
    stop = start + max(STEPS_AT_ONCE // width, 1) * width
    steps = connection.execute(
        select(points.c.step)
        .where(is_of_attempt, points.c.step >= start, points.c.step < stop)
        .order_by(points.c.step)
    ).scalars()
    dropped = thinned(steps, first=first, width=width, last=attempt_last)
    if dropped:
        connection.execute(delete(points).where(is_of_attempt, points.c.step.in_(dropped)))
    return Position(attempt, stop) if stop <= attempt_last else Position(attempt + 1, 0)
