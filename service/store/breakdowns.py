"""History by phase and by replica, of few points however many there are.

It lies in documents, and to take a million of them apart takes many seconds. So where there are too
many, one point of each of equal ranges of steps stands for it: what thinning keeps of them too.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, select

from service.jobs.history import Breakdown, Stretch, broken_down, buckets, stretches
from service.store.points import ends, is_of, rows_of_parts, starts_of
from service.store.tables import points
from trainer.contract.bounds import MAX_STEP
from trainer.contract.events import Phase, Progress, SecondsByPhase

# Assumed: a curve's worth.
MAX_READ = 500

# Among the phases, in the same document: they are read together, and take no column of their own.
_RATES = "replica_images_per_second"
_phases: TypeAdapter[dict[Phase, float]] = TypeAdapter(SecondsByPhase)
_COLUMNS = (points.c.step, points.c.epoch, points.c.phase_seconds)


def document_of(progress: Progress) -> dict[str, Any] | None:
    """Return what is kept of a point; None: it tells nothing of it."""
    told: dict[str, Any] = dict(progress.phase_seconds.items())
    if progress.replica_images_per_second:
        told[_RATES] = list(progress.replica_images_per_second)
    return told or None


def read_breakdowns(
    connection: Connection, job_id: str, *, first: int = 0, last: int = MAX_STEP, at_most: int
) -> list[Breakdown]:
    """Return what the lineage of a job told of steps in [first, last], as at most so many."""
    whole = stretches(starts_of(connection, job_id), last_step=MAX_STEP)
    lineage = [part for one in whole if (part := one.within(first, last)) is not None]
    rows = _all(connection, job_id, lineage)
    if len(rows) > MAX_READ:
        rows = _some(connection, job_id, lineage)
    singles = [one for row in rows if (one := _single(row)) is not None]
    return broken_down(singles, at_most=at_most)


def _all(connection: Connection, job_id: str, lineage: Sequence[Stretch]) -> Sequence[Row[Any]]:
    """Return all rows, or more than there should be."""
    found: list[Row[Any]] = []
    for one in lineage:
        query = select(*_COLUMNS).where(is_of(job_id, one)).order_by(points.c.step)
        found += connection.execute(query.limit(MAX_READ + 1 - len(found)))
        if len(found) > MAX_READ:
            break
    return found


def _some(connection: Connection, job_id: str, lineage: Sequence[Stretch]) -> Sequence[Row[Any]]:
    edges = [ends(connection, is_of(job_id, one)) for one in lineage]
    first = min(edge for edge, _ in edges if edge is not None)
    last = max(edge for _, edge in edges if edge is not None)
    parts = [
        part
        for start, end in buckets(first, last, at_most=MAX_READ)
        for one in lineage
        if (part := one.within(start, end)) is not None
    ]
    return rows_of_parts(connection, job_id, parts, _first_of)


def _first_of(
    attempt: ColumnElement[int], after: ColumnElement[int], through: ColumnElement[int]
) -> Select[Any]:
    return (
        select(*_COLUMNS)
        .where(
            points.c.job_id == bindparam("job"),
            points.c.attempt == attempt,
            points.c.step > after,
            points.c.step <= through,
        )
        .order_by(points.c.step)
        .limit(1)
    )


def _single(row: Row[Any]) -> Breakdown | None:
    """Make one of a row; None: it tells nothing of it, as those of release 0.1."""
    step, epoch, told = tuple(row)
    if told is None:
        return None
    rates = told.pop(_RATES, ())
    try:
        seconds = _phases.validate_python(told)
    except ValidationError:
        # Of a release that has other phases: nothing hangs on them.
        seconds = {}
    return Breakdown(
        first_step=step,
        step=step,
        epoch=epoch,
        phase_seconds=seconds,
        replica_images_per_second=rates,
    )
