"""What SQLite and PostgreSQL say in different words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Float, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class SecondsBetween(FunctionElement[float]):
    """Seconds from one moment to another, to the millisecond; NULL where one is no moment."""

    type = Float()
    inherit_cache = True

    def __init__(self, since: ColumnElement[datetime], until: ColumnElement[datetime]) -> None:
        super().__init__(since, until)


@compiles(SecondsBetween, "sqlite")
def _julian(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    # A julianday is exact to 0.05 ms.
    return f"round((julianday({until}) - julianday({since})) * 86400, 3)"


@compiles(SecondsBetween, "postgresql")
def _interval(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    return f"round(extract(epoch FROM {until} - {since}), 3)::double precision"


class IsJson(FunctionElement[bool]):
    """Whether a document is one: SQLite takes any text for JSON."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, document: ColumnElement[Any]) -> None:
        super().__init__(document)


@compiles(IsJson, "sqlite")
def _checked(element: IsJson, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce(json_valid({compiler.process(element.clauses, **options)}), 0)"


@compiles(IsJson, "postgresql")
def _held_to_its_type(element: IsJson, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)} IS NOT NULL"


def is_moment(column: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Condition that a moment is one: SQLite takes any text for that too."""
    return SecondsBetween(column, column).is_not(None)


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; of those whose primary key is there already, replace what the rows name."""
    if rows:
        statement = _upsert(connection.dialect.name, table, tuple(rows[0]), adds=False)
        connection.execute(statement, list(rows))


def add(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row; if its primary key is there already, add to that row what this one names."""
    statement = _upsert(connection.dialect.name, table, tuple(row), adds=True)
    connection.execute(statement, row)


@cache
def _upsert(database: str, table: Table, names: Sequence[str], *, adds: bool) -> Insert:
    """Make the statement: that takes longer than to insert a few rows by it."""
    dialect = sqlite if database == "sqlite" else postgresql
    statement = dialect.insert(table)
    key = [column.name for column in table.primary_key]
    given = statement.excluded
    changed = {
        name: table.c[name] + given[name] if adds else given[name]
        for name in names
        if name not in key
    }
    made: Insert = statement.on_conflict_do_update(index_elements=key, set_=changed)
    return made
