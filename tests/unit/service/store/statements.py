"""What a store asks its database, statement by statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from service.store.store import Store


@contextmanager
def statements(by: Engine | Connection) -> Iterator[list[tuple[str, Any]]]:
    """Give a list of the statements that are executed in the block, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    # What is read otherwise goes by another view of the same engine.
    by = getattr(by, "_proxied", by)
    event.listen(by, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(by, "before_cursor_execute", note)


def plan_of(store: Store, asked: tuple[str, Any]) -> list[str]:
    """Return how SQLite goes about a statement, a step each."""
    statement, parameters = asked
    with store._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row.detail for row in plan]


def scanned(store: Store, table: str, asked: list[tuple[str, Any]]) -> list[str]:
    """Return which of the statements go through all of a table; of SQLite."""
    return [one[0] for one in asked if f"SCAN {table}" in plan_of(store, one)]
