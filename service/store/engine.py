"""The connection to SQLite: write-ahead log, waiting for locks, foreign keys."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

# Another process (a backup, a shell) may hold the file for a while. Beyond that a request is told
# to come again, rather than hold one of the few threads; the reconciler tries again by itself.
BUSY_TIMEOUT_MS = 5_000
# A control plane that starts or takes over has nobody waiting, and is of no use without its store.
MIGRATE_BUSY_TIMEOUT_MS = 30_000


def connect(path: Path, *, busy_timeout_ms: int | None = None) -> Engine:
    """Open (and create) the store's file. Connections are made when they are needed.

    `busy_timeout_ms`: how long to wait for a lock; None: BUSY_TIMEOUT_MS.
    """

    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        timeout_ms = BUSY_TIMEOUT_MS if busy_timeout_ms is None else busy_timeout_ms
        _configure(connection, timeout_ms)

    # Transactions are short; a thread that needs a connection is never made to wait for one.
    engine = create_engine(f"sqlite:///{path}", max_overflow=-1)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """Return a view of the engine whose transactions take the write lock at once.

    A transaction that reads first and then writes would fail if another wrote in between.
    """
    return engine.execution_options(begin_statement="BEGIN IMMEDIATE")


def _configure(connection: sqlite3.Connection, busy_timeout_ms: int) -> None:
    # Transactions are begun by _begin; the driver's own ideas of when are switched off.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {busy_timeout_ms}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin_statement", "BEGIN"))
