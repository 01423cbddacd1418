"""History by step, read as few points as are asked for.

Points are put together by the database, one range of steps at a time: neither the answer nor what
is held for it grows with the history. Each range is one seek in the key of the table, so that
nothing is sorted; one GROUP BY over all of them sorts or hashes (measured: no faster). SQLite is
asked for one range after another, PostgreSQL, which is a journey away, for all of them at once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.jobs.history import (
    History,
    HistoryPoint,
    Series,
    Spread,
    Stretch,
    buckets,
    evaluations_that_count,
    stretches,
    together,
)
from service.store.tables import attempts, events, points
from trainer.contract.bounds import MAX_STEP
from trainer.contract.events import Evaluated
from trainer.contract.lineage import step_of

# A history of one evaluation an epoch is far below it.
MAX_EVALUATIONS = 10_000

QueryOf = Callable[[ColumnElement[int], ColumnElement[int], ColumnElement[int]], Select[Any]]
"""Makes a query of one range: of an attempt, after which step, and through which."""


def read_history(
    connection: Connection,
    job_id: str,
    series: Sequence[Series],
    *,
    first: int = 0,
    last: int = MAX_STEP,
    max_points: int,
) -> History:
    """Return the history of steps done in [first, last], as at most `max_points` points.

    Where there are more, each stands for those of an equal range of steps: mean, least and
    greatest, so that no extreme is lost.
    """
    starts = starts_of(connection, job_id)
    lineage = stretches(starts, last_step=MAX_STEP)
    clipped = [part for one in lineage if (part := one.within(first, last)) is not None]
    return History(
        points=_read_points(connection, job_id, clipped, series, max_points),
        evaluations=[
            one
            for one in evaluations_that_count(_evaluations(connection, job_id), starts)
            if first <= one.step <= last
        ],
    )


def starts_of(connection: Connection, job_id: str) -> list[tuple[int, int]]:
    """Return, of each attempt that has told of a step, its number and the steps done before."""
    has_points = exists().where(
        points.c.job_id == attempts.c.job_id, points.c.attempt == attempts.c.number
    )
    begun = connection.execute(
        select(attempts.c.number, attempts.c.resume_from)
        .where(attempts.c.job_id == job_id, has_points)
        .order_by(attempts.c.number)
    )
    return [
        (row.number, 0 if row.resume_from is None else step_of(row.resume_from)) for row in begun
    ]


def _read_points(
    connection: Connection,
    job_id: str,
    lineage: Sequence[Stretch],
    series: Sequence[Series],
    max_points: int,
) -> list[HistoryPoint]:
    single = [
        point
        for one in lineage
        for point in _each(connection, job_id, one, series, limit=max_points + 1)
    ]
    if len(single) <= max_points:
        return single
    edges = [ends(connection, is_of(job_id, one)) for one in lineage]
    first = min(edge for edge, _ in edges if edge is not None)
    last = max(edge for _, edge in edges if edge is not None)
    ranges = [
        (start, part)
        for start, end in buckets(first, last, at_most=max_points)
        for one in lineage
        if (part := one.within(start, end)) is not None
    ]
    summed = zip(
        (start for start, _ in ranges),
        _sums(connection, job_id, [part for _, part in ranges], series),
        strict=True,
    )
    found = []
    for _, of_bucket in groupby(summed, key=lambda one: one[0]):
        if parts := [point for _, point in of_bucket if point is not None]:
            found.append(together(parts))
    return found


def _each(
    connection: Connection, job_id: str, stretch: Stretch, series: Sequence[Series], *, limit: int
) -> Iterator[HistoryPoint]:
    query = (
        select(points.c.step, points.c.epoch, *(points.c[name] for name in series))
        .where(is_of(job_id, stretch))
        .order_by(points.c.step)
        .limit(limit)
    )
    for row in connection.execute(query):
        step, epoch, *values = tuple(row)
        yield HistoryPoint(
            first_step=step,
            step=step,
            epoch=epoch,
            num_points=1,
            values={
                name: Spread(mean=value, min=value, max=value)
                for name, value in zip(series, values, strict=True)
            },
        )


def _sums(
    connection: Connection, job_id: str, parts: Sequence[Stretch], series: Sequence[Series]
) -> Iterator[HistoryPoint | None]:
    """Give what the points of each part come to together; None: it has none."""
    rows = rows_of_parts(connection, job_id, parts, partial(_sums_of, series))
    return (_summed(row, series) for row in rows)


def rows_of_parts(
    connection: Connection,
    job_id: str,
    parts: Sequence[Stretch],
    query_of: QueryOf,
) -> Sequence[Row[Any]]:
    """Return the rows of one query of each part, part after part.

    It must ask for the job that is bound as `job`.
    """
    if connection.dialect.name == "postgresql":
        parameters: dict[str, Any] = {
            "job": job_id,
            "attempts": [part.attempt for part in parts],
            "after": [part.after for part in parts],
            "through": [part.through for part in parts],
        }
        return connection.execute(_of_all(query_of), parameters).all()
    # One statement for all: to make each anew takes longer than to run it.
    query = query_of(bindparam("attempt"), bindparam("after"), bindparam("through"))
    return [
        row for part in parts for row in connection.execute(query, {"job": job_id, **vars(part)})
    ]


def _of_all(query_of: QueryOf) -> Select[Any]:
    """Return the query of all parts, in their order: SQLite has no LATERAL."""
    steps = ARRAY(Integer)
    parts = (
        func.unnest(
            bindparam("attempts", type_=steps),
            bindparam("after", type_=steps),
            bindparam("through", type_=steps),
        )
        .table_valued("attempt", "after", "through", with_ordinality="place")
        .render_derived("parts")
    )
    of_part = query_of(parts.c.attempt, parts.c.after, parts.c.through).lateral()
    return select(of_part).select_from(parts.join(of_part, true())).order_by(parts.c.place)


def _sums_of(
    series: Sequence[Series],
    attempt: ColumnElement[int],
    after: ColumnElement[int],
    through: ColumnElement[int],
) -> Select[Any]:
    step = points.c.step
    columns: list[ColumnElement[Any]] = [
        func.count(),
        func.min(step),
        func.max(step),
        func.max(points.c.epoch),
        *(
            function(points.c[name])
            for name in series
            for function in (func.avg, func.min, func.max)
        ),
    ]
    # Names that do not collide, however many columns there are of a function.
    named = [column.label(f"sum_{place}") for place, column in enumerate(columns)]
    return select(*named).where(
        points.c.job_id == bindparam("job"),
        points.c.attempt == attempt,
        step > after,
        step <= through,
    )


def _summed(row: Row[Any], series: Sequence[Series]) -> HistoryPoint | None:
    num_points, first_step, last_step, epoch, *values = tuple(row)
    if num_points == 0:
        return None
    return HistoryPoint(
        first_step=first_step,
        step=last_step,
        epoch=epoch,
        num_points=num_points,
        values={
            name: Spread(*values[3 * place : 3 * place + 3]) for place, name in enumerate(series)
        },
    )


def is_of(job_id: str, stretch: Stretch) -> ColumnElement[bool]:
    """Return whether a point is one of a stretch of a job."""
    return and_(
        points.c.job_id == job_id,
        points.c.attempt == stretch.attempt,
        points.c.step > stretch.after,
        points.c.step <= stretch.through,
    )


def ends(connection: Connection, which: ColumnElement[bool]) -> tuple[int | None, int | None]:
    """Return the first and the last step of some points; None: there are none."""
    # One at a time each is a seek; together they would be a scan.
    return (
        connection.execute(select(func.min(points.c.step)).where(which)).scalar(),
        connection.execute(select(func.max(points.c.step)).where(which)).scalar(),
    )


def ends_of_job(connection: Connection, job_id: str) -> tuple[int | None, int | None]:
    """Return the first and the last step of a job's points, of whatever attempt."""
    # Within an attempt they are in the order of steps; across attempts they would be gone through.
    numbers = connection.execute(select(attempts.c.number).where(attempts.c.job_id == job_id))
    edges = [
        step
        for number in numbers.scalars().all()
        for step in ends(connection, (points.c.job_id == job_id) & (points.c.attempt == number))
        if step is not None
    ]
    return min(edges, default=None), max(edges, default=None)


def _evaluations(connection: Connection, job_id: str) -> list[tuple[int, Evaluated]]:
    query = (
        select(events.c.attempt, events.c.data)
        .where(events.c.job_id == job_id, events.c.data["kind"].as_string() == "evaluated")
        .order_by(events.c.number)
        .limit(MAX_EVALUATIONS)
    )
    return [(row.attempt, Evaluated.model_validate(row.data)) for row in connection.execute(query)]
