import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, insert, select
from sqlalchemy.exc import OperationalError

from service.access.caller import Caller, Role
from service.jobs.records import UnreadableJob
from service.store.detail import read_detail
from service.store.engine import MIGRATE_BUSY_TIMEOUT_MS, connect, writing
from service.store.migrate import StoreVersionError, alembic_config, current_version, migrate
from service.store.store import Store
from service.store.tables import events, metadata, points
from tests.unit.service.conftest import make_spec
from tests.unit.service.store import release_0_1
from trainer.contract.events import AttemptEvent, CheckpointSaved, Progress
from trainer.contract.status import Desired

# Release 0.1 kept its store in SQLite alone; the later ones are of both.
_EARLIER = ("0001", "0002", "0003")
# One a type, so that each row refers to those that there are.
_VALUES: dict[type, Any] = {
    bool: True,
    datetime: datetime(2026, 1, 1, 12, 0, 0, 250_000),  # as columns hold it
    float: 1.5,
    int: 1,
    # Of documents, which may be anything.
    object: {"labels": {"team": "vision"}},
    str: "one",
}


def test_the_migrations_lead_to_the_tables(empty_store_url: str) -> None:
    engine = connect(empty_store_url)
    migrate(writing(engine))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "render_as_batch": True}
        )
        assert compare_metadata(context, metadata) == []
        assert current_version(connection) == "0004"
    engine.dispose()


def test_migrating_twice_changes_nothing(empty_store_url: str) -> None:
    engine = connect(empty_store_url)
    migrate(writing(engine))
    migrate(writing(engine))
    engine.dispose()


def test_a_store_of_a_newer_release_is_refused(empty_store_url: str) -> None:
    engine = connect(empty_store_url)
    migrate(writing(engine))
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreVersionError, match="9999"):
        migrate(writing(engine))
    engine.dispose()


def test_a_store_that_is_locked_for_a_moment_is_waited_for_longer_than_by_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MIGRATE_BUSY_TIMEOUT_MS == 30_000
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 0)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.migrate()
    with closing(sqlite3.connect(tmp_path / "store.db", check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            store.submit("a", make_spec(), datetime.now(UTC))
        release = threading.Timer(0.2, other.rollback)
        release.start()
        store.migrate()
        release.join()
    store.close()


def test_a_store_of_release_0_1_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    release_0_1.write(path)
    with closing(Store(f"sqlite:///{path}")) as store:
        store.migrate()
        found = store.jobs(limit=10)
        assert [job.id for job in found] == ["done", "runs", "torn", "waits"]
        assert [isinstance(job, UnreadableJob) for job in found] == [False, False, True, False]
        done, runs, waits = (store.job(job_id) for job_id in ("done", "runs", "waits"))
        assert done.finished_at == datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
        assert [job.status for job in (done, runs, waits)] == ["SUCCEEDED", "RUNNING", "QUEUED"]
        assert (runs.owner, runs.private, runs.preempted_by) == (None, False, None)
        assert store.read(lambda connection: read_detail(connection, "runs")).plan is None
        assert runs.progress == Progress.model_validate(release_0_1.progress(3))
        assert [job.checkpoint_step for job in (done, runs, waits)] == [3, 3, None]
        assert runs.checkpoint_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
        for labels, ids in (
            ([("team", "vision"), ("on", "1")], ["waits"]),
            ([("team", "audio")], ["runs"]),
            ([("team", "vision"), ("on", "2")], []),
        ):
            assert [job.id for job in store.jobs(labels=labels, limit=10)] == ids
        # Progress became points; what else happened has the numbers it had.
        assert [event.number for event in store.events("runs", limit=100)] == [5, 9]
        assert _steps(store, "runs") == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3)]
        assert _steps(store, "done") == [(1, 1), (1, 2), (1, 3)]
        assert _numbers(store, "done") == [4, 95, 96, 97, 98, 99]
        assert store.attempt("runs", 2).worker_pids == (7, 8)
        assert [one.step for one in store.checkpoints("runs")] == [4, 3]
        # It goes on from there; the numbers of what was moved are given to nothing else.
        saved = CheckpointSaved.model_validate({"step": 4, **release_0_1.SAVED})
        reported = [
            AttemptEvent(number=4, at=datetime.now(UTC), data=runs.progress),
            AttemptEvent(number=5, at=datetime.now(UTC), data=saved),
        ]
        assert store.append_events("runs", 2, reported).stored_through == 5
        assert _numbers(store, "runs") == [5, 9, 11]
        assert store.ask("waits", Desired.CANCEL).desired is Desired.CANCEL
        assert store.submit("new", make_spec(), datetime.now(UTC)).seq > done.seq


def test_a_store_before_indexes_of_pages_keeps_everything(empty_store_url: str) -> None:
    engine = connect(empty_store_url)
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0002")
    engine.dispose()
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    with closing(Store(empty_store_url)) as store:
        for job_id, private in (("hers", True), ("shown", False)):
            store.submit(job_id, make_spec(), datetime.now(UTC), by=ann, private=private)
        before = store.jobs(limit=9)
        assert len(before) == 2
        store.migrate()
        assert store.read(current_version) == "0004"
        assert store.jobs(limit=9) == store.jobs(seen_by=ann, limit=9) == before
        seen = store.jobs(seen_by=replace(ann, owner="bob"), limit=9)
        assert [job.id for job in seen] == ["shown"]


@pytest.mark.parametrize("revision", _EARLIER)
def test_a_store_of_every_earlier_schema_keeps_its_rows(
    empty_store_url: str, revision: str
) -> None:
    engine = connect(empty_store_url)
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), revision)
        earlier = MetaData()
        earlier.reflect(connection)
        for table in _tables_of(earlier):
            row = {column.name: _VALUES[column.type.python_type] for column in table.c}
            connection.execute(insert(table).values(row))
        before = _rows(connection, earlier)
    assert all(before.values())
    migrate(writing(engine))
    with engine.connect() as connection:
        assert _rows(connection, earlier) == before
    engine.dispose()


def _tables_of(schema: MetaData) -> list[Table]:
    return [table for table in schema.sorted_tables if table.name != "alembic_version"]


def _rows(connection: Connection, schema: MetaData) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: [tuple(row) for row in connection.execute(select(table))]
        for table in _tables_of(schema)
    }


def test_progress_is_moved_however_many_events_tell_of_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    release_0_1.write(path)
    # More than are read at once, twice over; and of some steps again, read later.
    release_0_1.tell_progress(path, "done", 100, [*range(4, 2300), *range(10, 20)])
    with closing(Store(f"sqlite:///{path}")) as store:
        store.migrate()
        assert _steps(store, "done") == [(1, step) for step in range(1, 2300)]
        assert _numbers(store, "done") == [4, 95, 96, 97, 98, 99]
        query = select(points.c.loss).where(points.c.job_id == "done", points.c.step.in_([9, 10]))
        losses = store.read(
            lambda connection: list(connection.execute(query.order_by(points.c.step)).scalars())
        )
        assert losses == [105.0, 2396.0]


def _numbers(store: Store, job_id: str) -> list[int]:
    query = select(events.c.number).where(events.c.job_id == job_id).order_by(events.c.number)
    return store.read(lambda connection: list(connection.execute(query).scalars()))


def _steps(store: Store, job_id: str) -> list[tuple[int, int]]:
    query = select(points.c.attempt, points.c.step).where(points.c.job_id == job_id)
    ordered = query.order_by(points.c.attempt, points.c.step)
    return store.read(lambda connection: [tuple(row) for row in connection.execute(ordered)])


def test_two_that_start_at_once_migrate_one_after_the_other(empty_store_url: str) -> None:
    together = Barrier(4)

    def start(_number: int) -> str | None:
        with closing(Store(empty_store_url)) as store:
            together.wait()
            store.migrate()
            return store.read(current_version)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == ["0004"] * 4
