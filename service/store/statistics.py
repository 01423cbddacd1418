"""What /metrics reads: sums over the whole store, in one transaction."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, func, or_, select

from service.jobs.records import CheckpointRecord, JobRecord
from service.store.counters import (
    BUCKETS_S,
    FINISHED,
    NONFINITE,
    QUEUE,
    RESTARTS,
    RUN,
    Counts,
    counts,
)
from service.store.dialects import is_moment
from service.store.jobs import read_jobs
from service.store.rows import STORED_JOBS, checkpoint_of
from service.store.tables import checkpoints, jobs
from trainer.contract.status import LIVE, TERMINAL, Status


@dataclass(frozen=True, kw_only=True)
class Durations:
    """How long something took, over many jobs."""

    count: int
    sum_s: float
    at_most: tuple[int, ...]
    """For each of BUCKETS_S, how many took no longer."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One consistent view of the store."""

    jobs_by_status: dict[Status, int]
    """Of those that are stored; without those of which there are none."""
    finished_by_status: dict[Status, int]
    """Jobs that have ended. Here and below, those that were deleted are counted as well."""
    queue: Durations
    """From acceptance to admission."""
    queued_since: datetime | None
    """Of the job that is in the queue since longest; None: none is."""
    run_by_status: dict[Status, Durations]
    """From admission to the end."""
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
    by_status = connection.execute(
        select(jobs.c.status, func.count()).where(jobs.c.status.in_(Status)).group_by(jobs.c.status)
    )
    counted = counts(connection)
    finished = _by_label(counted, FINISHED)
    is_live = jobs.c.status.in_(LIVE)
    has_trained = or_(
        jobs.c.status == Status.RUNNING,
        jobs.c.progress.is_not(None),
        jobs.c.evaluation.is_not(None),
    )
    live = read_jobs(connection, STORED_JOBS.where(is_live, has_trained))
    return Statistics(
        jobs_by_status={Status(row[0]): row[1] for row in by_status},
        finished_by_status={status: finished.get(status, 0) for status in TERMINAL},
        queue=_durations(counted, QUEUE),
        queued_since=_queued_since(connection),
        run_by_status={status: _durations(counted, RUN, status) for status in TERMINAL},
        restarts_by_reason=_by_label(counted, RESTARTS),
        num_nonfinite=_by_label(counted, NONFINITE).get("", 0),
        live=tuple(job for job in live if isinstance(job, JobRecord)),
        newest_checkpoints=_newest_checkpoints(connection, select(jobs.c.id).where(is_live)),
    )


def _durations(counted: Counts, metric: str, label: str = "") -> Durations:
    """Add up the buckets of a histogram: each holds what those before it hold."""
    buckets = [
        (series.le, summed) for series, summed in counted.items() if series[:2] == (metric, label)
    ]
    return Durations(
        count=sum(summed.num for _, summed in buckets),
        sum_s=sum(summed.milliseconds for _, summed in buckets) / 1000,
        at_most=tuple(
            sum(summed.num for le, summed in buckets if float(le) <= edge_s) for edge_s in BUCKETS_S
        ),
    )


def _by_label(counted: Counts, metric: str) -> dict[str, int]:
    return {
        series.label: summed.num for series, summed in counted.items() if series.metric == metric
    }


def _queued_since(connection: Connection) -> datetime | None:
    waits = jobs.c.status == Status.QUEUED
    oldest = select(func.min(jobs.c.status_since)).where(waits, is_moment(jobs.c.status_since))
    since: datetime | None = connection.execute(oldest).scalar_one()
    return since


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
