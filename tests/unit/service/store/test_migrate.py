import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from service.store.engine import MIGRATE_BUSY_TIMEOUT_MS, connect, writing
from service.store.migrate import StoreVersionError, current_version, migrate
from service.store.store import Store
from service.store.tables import metadata
from tests.unit.service.conftest import make_spec


def test_the_migrations_lead_to_the_tables(empty_store_url: str) -> None:
    engine = connect(empty_store_url)
    migrate(writing(engine))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "render_as_batch": True}
        )
        assert compare_metadata(context, metadata) == []
        assert current_version(connection) == "0002"
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
