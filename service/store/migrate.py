"""Bring a store's schema to this release's."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text

from service.errors import UserError

# Any number, but the same in every release.
_LOCK = 0x416C65784E6574
_HERE = Path(__file__).parent


class StoreVersionError(UserError):
    """The store was written by another release."""


def migrate(engine: Engine) -> None:
    """Run the migrations that are missing, in one transaction; one process at a time."""
    with engine.begin() as connection:
        # On SQLite the transaction has the store to itself already.
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            # A large store takes as long as it takes.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        config = alembic_config(connection)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        present = current_version(connection)
        if present is not None and present not in known:
            raise StoreVersionError(
                f"the store has version {present}, which this release does not know; "
                "start the release that wrote it, or a newer one"
            )
        command.upgrade(config, "head")


def current_version(connection: Connection) -> str | None:
    """Revision of the schema; None for an empty store."""
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection) -> Config:
    """Return what Alembic needs to know, for its commands."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    return config
