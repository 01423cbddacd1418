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

    event.listen(by, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(by, "before_cursor_execute", note)


def scanned(store: Store, table: str, asked: list[tuple[str, Any]]) -> list[str]:
    """Return which of the statements go through all of a table; of SQLite."""
    found = []
    with store._engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            if f"SCAN {table}" in {row.detail for row in plan}:
                found.append(statement)
    return found
