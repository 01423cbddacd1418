"""What /metrics reads: sums over the whole store, in one transaction."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, Select, case, func, or_, select

from service.jobs.records import CheckpointRecord, JobRecord
from service.store.dialects import IsJson, SecondsBetween, is_moment
from service.store.jobs import read_jobs
from service.store.rows import STORED_JOBS, checkpoint_of
from service.store.tables import attempts, checkpoints, jobs
from trainer.contract.attempt import Reason
from trainer.contract.status import LIVE, Status

# From a job that starts at once to one that waits or runs for a week, in seconds.
BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """How long something took, over many jobs."""

    count: int
    sum_s: float
    at_most: tuple[int, ...]
    """For each of BUCKETS_S, how many took no longer."""


NO_DURATIONS = Durations(count=0, sum_s=0.0, at_most=(0,) * len(BUCKETS_S))


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One consistent view of the store."""

    jobs_by_status: dict[Status, int]
    """Without those of which there are none."""
    queue: Durations
    """From acceptance to admission."""
    queued_since: datetime | None
    """Of the job that is in the queue since longest; None: none is."""
    run_by_status: dict[Status, Durations]
    """From admission to the end; without those of which there are none."""
    restarts_by_reason: dict[str, int]
    """Attempts that followed on one that failed for that reason."""
    num_nonfinite: int
    """Jobs that ended as the loss of a step was not finite: one step each."""
    live: tuple[JobRecord, ...]
    """Jobs that have not ended, and train or have trained."""
    newest_checkpoints: dict[str, CheckpointRecord]
    """Of the jobs that have not ended, by job id."""


def statistics(connection: Connection) -> Statistics:
    """Read it all; what this release cannot read is left out."""
    counts = connection.execute(
        select(jobs.c.status, func.count()).where(_has_status()).group_by(jobs.c.status)
    )
    is_live = jobs.c.status.in_(LIVE)
    has_trained = or_(
        jobs.c.status == Status.RUNNING,
        jobs.c.progress.is_not(None),
        jobs.c.evaluation.is_not(None),
    )
    live = read_jobs(connection, STORED_JOBS.where(is_live, has_trained))
    return Statistics(
        jobs_by_status={Status(row[0]): row[1] for row in counts},
        queue=_together(_durations(connection, jobs.c.created_at, jobs.c.started_at).values()),
        queued_since=_queued_since(connection),
        run_by_status=_durations(connection, jobs.c.started_at, jobs.c.finished_at),
        restarts_by_reason=_restarts_by_reason(connection),
        num_nonfinite=_num_nonfinite(connection),
        live=tuple(job for job in live if isinstance(job, JobRecord)),
        newest_checkpoints=_newest_checkpoints(connection, select(jobs.c.id).where(is_live)),
    )


def _has_status() -> ColumnElement[bool]:
    return jobs.c.status.in_(Status)


def _durations(
    connection: Connection, since: Column[datetime], until: Column[datetime]
) -> dict[Status, Durations]:
    """Measure what lies between the two moments, of the jobs that have passed both, by status."""
    lasted = SecondsBetween(since, until)
    # Clocks that were set back make no time negative.
    seconds = case((lasted > 0, lasted), else_=0).label("seconds")
    # Without the offset, which skips nothing, `seconds` would be computed anew for every bucket.
    measured = (
        select(jobs.c.status, seconds)
        .where(lasted.is_not(None))
        .where(_has_status())
        .offset(0)
        .subquery()
    )
    at_most = [func.sum(case((measured.c.seconds <= edge, 1), else_=0)) for edge in BUCKETS_S]
    rows = connection.execute(
        select(measured.c.status, func.count(), func.sum(measured.c.seconds), *at_most).group_by(
            measured.c.status
        )
    )
    return {
        Status(status): Durations(count=count, sum_s=sum_s, at_most=tuple(counts))
        for status, count, sum_s, *counts in rows
    }


def _together(parts: Iterable[Durations]) -> Durations:
    whole = NO_DURATIONS
    for part in parts:
        whole = Durations(
            count=whole.count + part.count,
            sum_s=whole.sum_s + part.sum_s,
            at_most=tuple(map(operator.add, whole.at_most, part.at_most)),
        )
    return whole


def _queued_since(connection: Connection) -> datetime | None:
    waits = jobs.c.status == Status.QUEUED
    oldest = select(func.min(jobs.c.status_since)).where(waits, is_moment(jobs.c.status_since))
    since: datetime | None = connection.execute(oldest).scalar_one()
    return since


def _restarts_by_reason(connection: Connection) -> dict[str, int]:
    successor = attempts.alias()
    reason = case((IsJson(attempts.c.outcome), attempts.c.outcome["reason"].as_string()))
    restarts = connection.execute(
        select(reason, func.count())
        .join(
            successor,
            (successor.c.job_id == attempts.c.job_id)
            & (successor.c.number == attempts.c.number + 1),
        )
        .where(reason.is_not(None))
        .group_by(reason)
    )
    return {row[0]: row[1] for row in restarts}


def _num_nonfinite(connection: Connection) -> int:
    ended_by_it = (jobs.c.status == Status.FAILED) & (jobs.c.reason == Reason.NONFINITE_LOSS)
    return connection.execute(select(func.count()).where(ended_by_it)).scalar_one()


def _newest_checkpoints(
    connection: Connection, job_ids: Select[tuple[str]]
) -> dict[str, CheckpointRecord]:
    # Of the newest attempt that saved one: an earlier attempt may have been further on when what
    # it saved was damaged, and that counts no more.
    age = func.row_number().over(
        partition_by=checkpoints.c.job_id,
        order_by=(checkpoints.c.attempt.desc(), checkpoints.c.step.desc()),
    )
    aged = (
        select(checkpoints, age.label("age"))
        .where(checkpoints.c.job_id.in_(job_ids))
        .where(is_moment(checkpoints.c.saved_at))
        .subquery()
    )
    newest = select(*(aged.c[column.name] for column in checkpoints.c)).where(aged.c.age == 1)
    return {row.job_id: checkpoint_of(row) for row in connection.execute(newest)}
