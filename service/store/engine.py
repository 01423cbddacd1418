"""Connections to the store's database: SQLite, or PostgreSQL through psycopg."""

import json
import re
import sqlite3
import time
from typing import Any

import psycopg
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

# Another process (a backup, a shell) may hold a lock for a while. Beyond that a request is told
# to come again, rather than hold one of the few threads; the reconciler tries again by itself.
BUSY_TIMEOUT_MS = 5_000
# A control plane that starts or takes over has nobody waiting, and is of no use without its store.
MIGRATE_BUSY_TIMEOUT_MS = 30_000
_LOG_POLL_S = 0.01
# As many as PostgreSQL's default of 100 leaves room for with a leader and some standbys.
_POOL_SIZE = 20
# A server that was restarted has closed what the pool holds. To ask whether it has is a journey;
# no server restarts in much less (assumed).
_IDLE_S = 1.0
_USED_S = "used_s"
# Starlette's threads, and those of the control plane itself.
_KEPT = 48
# What people and processes say may hold anything; it is stored, with this for what cannot be.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A server that says nothing is given up after about BUSY_TIMEOUT_MS, whatever it was asked.
_LIVENESS = {
    "connect_timeout": "5",
    "tcp_user_timeout": str(BUSY_TIMEOUT_MS),
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
}


def connect(url: str, *, busy_timeout_ms: int | None = None) -> Engine:
    """Open (and create, if it is a file) the store. Connections are made when they are needed.

    `busy_timeout_ms`: how long to wait for a lock; None: BUSY_TIMEOUT_MS.
    """
    parsed = make_url(url)
    timeout_ms = BUSY_TIMEOUT_MS if busy_timeout_ms is None else busy_timeout_ms
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(parsed, busy_timeout_ms)
    return _connect_postgresql(parsed, timeout_ms)


def reading(engine: Engine) -> Engine:
    """Return a view of the engine whose transactions each see the store as of one moment."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def reading_at_once(engine: Engine) -> Engine:
    """Return a view of the engine for reads of one statement, which sees one moment by itself.

    It is spared the statements that begin and end: to PostgreSQL each is a journey.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(begin_statement=None)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def writing(engine: Engine) -> Engine:
    """Return a view of the engine for transactions that write.

    SQLite's take the write lock at once: one that reads first and then writes would fail if
    another wrote in between. PostgreSQL's lock the rows that they decide by (see `lock_job`).
    """
    return engine.execution_options(begin_statement="BEGIN IMMEDIATE")


def _connect_sqlite(url: URL, busy_timeout_ms: int | None) -> Engine:
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        _configure(connection, BUSY_TIMEOUT_MS if busy_timeout_ms is None else busy_timeout_ms)

    # Transactions are short; a thread that needs a connection is never made to wait for one. To
    # open one takes as long as some requests: as many are kept as there are threads for those.
    engine = create_engine(url, pool_size=_KEPT, max_overflow=-1, hide_parameters=True)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: sqlite3.Connection, busy_timeout_ms: int) -> None:
    # Transactions are begun by _begin; the driver's own ideas of when are switched off.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {busy_timeout_ms}",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _keep_log(connection, busy_timeout_ms)


def _keep_log(connection: sqlite3.Connection, busy_timeout_ms: int) -> None:
    """Have the file's write-ahead log, which a file that is new does not have."""
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # Of several that begin a log at once SQLite refuses some, without waiting.
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOG_POLL_S)
        else:
            return


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("begin_statement", "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)


def _connect_postgresql(url: URL, busy_timeout_ms: int) -> Engine:
    own = url.query.get("options", "")
    settings: dict[str, int | str] = {
        "lock_timeout": busy_timeout_ms,
        # What takes far longer than any statement here is lost, not slow (assumed).
        "statement_timeout": 2 * busy_timeout_ms,
        # A process that was frozen amid a transaction must not keep its locks from the others.
        "idle_in_transaction_session_timeout": 2 * busy_timeout_ms,
        # To compile a statement takes longer than it saves (measured: history of many points).
        "jit": "off",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        # Of what was to be stored, nothing belongs into a log.
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        json_serializer=json_without_nul,
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
        # So that those in use stay in use, and need not be asked whether they live.
        pool_use_lifo=True,
        connect_args={**_LIVENESS, "options": f"{own} {options}".strip()},
    )
    event.listen(engine, "connect", _take_any_text)
    event.listen(engine, "checkin", _note_use)

    def check(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        used_s = record.info.get(_USED_S)
        if used_s is None or time.monotonic() - used_s < _IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkout", check)
    return engine


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_S] = time.monotonic()


class _TextDumper(StrDumperUnknown):
    """Text as PostgreSQL takes it: without NUL, and without halves of surrogate pairs."""

    def dump(self, obj: str) -> bytes:
        return obj.replace("\0", _REPLACEMENT).encode(errors="replace")


def _take_any_text(connection: psycopg.Connection[Any], _record: Any) -> None:
    connection.adapters.register_dumper(str, _TextDumper)


def json_without_nul(document: Any) -> str:
    """Serialize a document, with another character for each NUL, which PostgreSQL cannot read."""
    # An even number of backslashes before it stands for themselves.
    return re.sub(r"(?<!\\)((?:\\\\)*)\\u0000", rf"\1{_REPLACEMENT}", json.dumps(document))
