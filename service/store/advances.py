"""What reports add: points, the latest progress, how far events are stored; of many jobs at once.

A statement costs more than the rows it writes. PostgreSQL, to which each is a journey, is sent one,
with all rows as JSON that it takes apart itself: it reads back exactly the number that was sent.
SQLite, which promises no such thing, is given rows as rows, by a statement for each table.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Integer,
    String,
    TableValuedAlias,
    bindparam,
    column,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql

from service.store.dialects import upsert
from service.store.tables import Document, UtcDateTime, attempts, jobs, points

# Each is made once: that takes longer than to run it.
_ADVANCE = (
    update(jobs)
    .where(jobs.c.id == bindparam("of_job"))
    .values(progress=bindparam("latest"), advanced_at=bindparam("now"))
)
_STORE_THROUGH = (
    update(attempts)
    .where(attempts.c.job_id == bindparam("of_job"), attempts.c.number == bindparam("of_attempt"))
    .values(events_through=bindparam("through"))
)


def _rows_of(name: str, *columns: Any) -> TableValuedAlias:
    document = func.json_to_recordset(bindparam(name, type_=JSON))
    return document.table_valued(*columns).render_derived(name=name, with_types=True)


def _all_in_one() -> Any:
    found = _rows_of("found", *(column(one.name, one.type) for one in points.c))
    advanced = _rows_of(
        "advanced",
        column("of_job", String()),
        column("latest", Document),
        column("now", UtcDateTime()),
    )
    stored = _rows_of(
        "stored",
        column("of_job", String()),
        column("of_attempt", Integer()),
        column("through", Integer()),
    )
    add = postgresql.insert(points).from_select([one.name for one in points.c], select(found))
    add_points = add.on_conflict_do_update(
        index_elements=points.primary_key,
        set_={one.name: add.excluded[one.name] for one in points.c if not one.primary_key},
    )
    advance = (
        update(jobs)
        .where(jobs.c.id == advanced.c.of_job)
        .values(progress=advanced.c.latest, advanced_at=advanced.c.now)
    )
    return (
        update(attempts)
        .where(
            attempts.c.job_id == stored.c.of_job,
            attempts.c.number == stored.c.of_attempt,
        )
        .values(events_through=stored.c.through)
        .add_cte(add_points.cte("add_points"), advance.cte("advance"))
    )


_ALL_IN_ONE = _all_in_one()


def store_advances(
    connection: Connection,
    *,
    found: Iterable[Mapping[str, Any]],
    advanced: Sequence[Mapping[str, Any]],
    stored: Sequence[Mapping[str, Any]],
) -> None:
    """Store rows of points; of jobs that advanced `latest` and `now`; of attempts `through`.

    Of points of one step the last stays. The jobs must be locked.
    """
    # One statement writes no row twice.
    by_key = {(row["job_id"], row["attempt"], row["step"]): row for row in found}
    rows = list(by_key.values())
    if connection.dialect.name == "postgresql":
        given = {"found": rows, "advanced": advanced, "stored": stored}
        connection.execute(_ALL_IN_ONE, {name: _as_json(each) for name, each in given.items()})
        return
    upsert(connection, points, rows)
    if advanced:
        connection.execute(_ADVANCE, advanced)
    if stored:
        connection.execute(_STORE_THROUGH, stored)


def _as_json(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with moments as text, as `UtcDateTime` keeps them."""
    return [
        {
            name: value.astimezone(UTC).replace(tzinfo=None).isoformat()
            if isinstance(value, datetime)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]
