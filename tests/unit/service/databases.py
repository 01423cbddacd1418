"""New stores for tests, on SQLite and on PostgreSQL: made from a migrated template, for speed."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from service.store.engine import connect
from service.store.store import Store
from tests.postgres import Postgres

_numbers = itertools.count()


class Databases(Protocol):
    """Makes stores of one kind; each URL is another store."""

    def empty(self) -> str:
        """Return the URL of a store without tables."""

    def migrated(self) -> str:
        """Return the URL of a store with this release's tables."""


class SqliteDatabases:
    """Files below a folder."""

    def __init__(self, folder: Path, template: Path) -> None:
        self._folder = folder
        self._template = template

    def empty(self) -> str:
        return f"sqlite:///{self._path()}"

    def migrated(self) -> str:
        path = self._path()
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"

    def _path(self) -> Path:
        return self._folder / f"store-{next(_numbers)}.db"


class PostgresDatabases:
    """Databases of one server."""

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self._template = template
        self._made: list[str] = []

    def empty(self) -> str:
        return self._make("template1")

    def migrated(self) -> str:
        return self._make(self._template)

    def drop(self) -> None:
        """Remove what was made, whoever is still connected."""
        for name in self._made:
            self._server.drop(name)

    def _make(self, template: str) -> str:
        name = f"store_{next(_numbers)}"
        self._made.append(name)
        return self._server.create(name, template=template)


def migrated_file(folder: Path) -> Path:
    path = folder / "store.db"
    _migrate(f"sqlite:///{path}")
    return path


def migrated_database(server: Postgres) -> str:
    _migrate(server.create("migrated"))
    return "migrated"


def _migrate(url: str) -> None:
    store = Store(url)
    store.migrate()
    store.close()


def change(url: str, statement: str, **values: str) -> None:
    """Change what is stored past the store, as damage and other releases do.

    Skips the test where the database refuses to hold that.
    """
    engine = connect(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement), values)
    except DataError:
        assert engine.dialect.name == "postgresql"
        pytest.skip("PostgreSQL holds a column to its type")
    finally:
        engine.dispose()


@contextmanager
def written_by_another(url: str) -> Iterator[None]:
    """Keep everybody else from writing jobs while the block runs."""
    # Itself it may take its time.
    engine = connect(url, busy_timeout_ms=60_000)
    is_file = engine.dialect.name == "sqlite"
    if is_file:
        engine = engine.execution_options(begin_statement="BEGIN EXCLUSIVE")
    with engine.begin() as connection:
        connection.execute(text("SELECT 1" if is_file else "LOCK TABLE jobs IN EXCLUSIVE MODE"))
        yield
    engine.dispose()
