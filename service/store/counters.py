"""What /metrics counts of jobs for good: of those that are stored, and of those that were deleted.

Prometheus takes a counter that falls for one that began anew. So what is counted of a job's rows is
kept when they go, in the same transaction.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    case,
    cast,
    func,
    literal,
    select,
    true,
)

from service.store.dialects import IsJson, SecondsBetween, add
from service.store.tables import attempts, counted, jobs
from trainer.contract.attempt import Reason
from trainer.contract.status import TERMINAL, Status

# From a job that starts at once to one that waits or runs for a week, in seconds.
BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)

FINISHED: Final = "alexnet_jobs_finished"
RESTARTS: Final = "alexnet_job_restarts"
NONFINITE: Final = "alexnet_train_nonfinite_steps"
QUEUE: Final = "alexnet_job_queue_seconds"
RUN: Final = "alexnet_job_run_seconds"


class Series(NamedTuple):
    """What a sum is of."""

    metric: str
    label: str = ""
    """The outcome or the reason; empty where it has none."""
    le: str = ""
    """Of a histogram: the first of its buckets that holds what was measured."""


class Sum(NamedTuple):
    """What was counted."""

    num: int
    milliseconds: int = 0
    """Of a histogram. Whole ones come to the same in whichever order they are added."""


Counts = Mapping[Series, Sum]


def counts(connection: Connection) -> Counts:
    """Count the jobs that are stored, and those that were deleted."""
    found = dict(_of_rows(connection))
    for metric, label, le, count, milliseconds in connection.execute(select(counted)):
        series = Series(metric, label, le)
        stored = found.get(series, Sum(0))
        found[series] = Sum(stored.num + count, stored.milliseconds + milliseconds)
    return found


def counts_of(connection: Connection, job_id: str) -> Counts:
    """Count one job, as long as it is stored."""
    return dict(_of_rows(connection, job_id))


def keep_counts(connection: Connection, of_job: Counts) -> None:
    """Keep what was counted of a job that is being deleted.

    Other deletions then wait until this one is committed.
    """
    # In one order: of two that are deleted at once, none waits for what the other waits for.
    for series, summed in sorted(of_job.items()):
        row = {"count": summed.num, "milliseconds": summed.milliseconds}
        add(connection, counted, series._asdict() | row)


def _of_rows(connection: Connection, job_id: str | None = None) -> Iterator[tuple[Series, Sum]]:
    """Count what is stored of all jobs, or of one."""
    is_job = true() if job_id is None else jobs.c.id == job_id
    is_attempt = true() if job_id is None else attempts.c.job_id == job_id
    for metric, query in (
        (FINISHED, _finished().where(is_job)),
        (RESTARTS, _restarts().where(is_attempt)),
        (NONFINITE, _nonfinite().where(is_job)),
    ):
        for label, count in connection.execute(query):
            if count:
                yield Series(metric, label), Sum(count)
    for metric, labelled_by, since, until in (
        (QUEUE, literal(""), jobs.c.created_at, jobs.c.started_at),
        (RUN, jobs.c.status, jobs.c.started_at, jobs.c.finished_at),
    ):
        found = connection.execute(_durations(labelled_by, since, until, is_job))
        for of_label, le, count, milliseconds in found:
            yield Series(metric, of_label, le), Sum(count, int(milliseconds))


def _finished() -> Select[str, int]:
    ended = jobs.c.status.in_(TERMINAL)
    return select(jobs.c.status, func.count()).where(ended).group_by(jobs.c.status)


def _restarts() -> Select[str, int]:
    """Count the attempts that followed on one that failed, by its reason."""
    successor = attempts.alias()
    reason = case((IsJson(attempts.c.outcome), attempts.c.outcome["reason"].as_string()))
    return (
        select(reason, func.count())
        .join(
            successor,
            (successor.c.job_id == attempts.c.job_id)
            & (successor.c.number == attempts.c.number + 1),
        )
        .where(reason.is_not(None))
        .group_by(reason)
    )


def _nonfinite() -> Select[str, int]:
    ended_by_it = (jobs.c.status == Status.FAILED) & (jobs.c.reason == Reason.NONFINITE_LOSS)
    return select(literal(""), func.count()).where(ended_by_it)


def _durations(
    label: ColumnElement[str],
    since: Column[datetime],
    until: Column[datetime],
    is_job: ColumnElement[bool],
) -> Select[str, str, int, int]:
    """Measure what lies between the two moments, of the jobs that have passed both."""
    lasted = SecondsBetween(since, until)
    # Clocks that were set back make no time negative.
    seconds = case((lasted > 0, lasted), else_=0)
    # Without the offset, which skips nothing, it would be computed anew for every bucket.
    measured = (
        select(label.label("label"), cast(func.round(seconds * 1000), BigInteger).label("ms"))
        .where(lasted.is_not(None), jobs.c.status.in_(Status), is_job)
        .offset(0)
        .subquery()
    )
    buckets = [(measured.c.ms <= edge_s * 1000, str(float(edge_s))) for edge_s in BUCKETS_S]
    in_buckets = select(measured, case(*buckets, else_="+Inf").label("le")).subquery()
    label_and_le = (in_buckets.c.label, in_buckets.c.le)
    return select(
        *label_and_le,
        func.count().label("count"),
        func.sum(in_buckets.c.ms).label("milliseconds"),
    ).group_by(*label_and_le)
