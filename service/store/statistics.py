"""What /metrics reads: sums over the whole store, in one transaction."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from service.records import CheckpointRecord, JobRecord
from service.store.jobs import read_jobs
from service.store.rows import checkpoint_of
from service.store.tables import attempts, checkpoints, jobs
from trainer.contract.status import TERMINAL, Status


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """When a job passed its stations."""

    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One consistent view of the store."""

    times: tuple[JobTimes, ...]
    restarts_by_reason: dict[str, int]
    """Attempts that followed on one that failed for that reason."""
    live: tuple[JobRecord, ...]
    newest_checkpoints: dict[str, CheckpointRecord]
    """Of the live jobs, by job id."""


def statistics(connection: Connection) -> Statistics:
    """Read it all."""
    times = connection.execute(
        select(jobs.c.status, jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at)
    )
    successor = attempts.alias()
    reason = attempts.c.outcome["reason"].as_string()
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
    live_ids = select(jobs.c.id).where(jobs.c.status.not_in(TERMINAL))
    saved = connection.execute(
        select(checkpoints)
        .where(checkpoints.c.job_id.in_(live_ids))
        .order_by(checkpoints.c.attempt, checkpoints.c.step)
    )
    return Statistics(
        times=tuple(
            JobTimes(
                status=Status(row.status),
                created_at=row.created_at,
                started_at=row.started_at,
                finished_at=row.finished_at,
            )
            for row in times
        ),
        restarts_by_reason={row[0]: row[1] for row in restarts},
        live=tuple(
            job
            for job in read_jobs(connection, select(jobs).where(jobs.c.status.not_in(TERMINAL)))
            if isinstance(job, JobRecord)
        ),
        newest_checkpoints={row.job_id: checkpoint_of(row) for row in saved},
    )
