"""Which store this is, among all whose services share a Ray."""

from sqlalchemy import Connection, select

from service.store.tables import identity


def store_id(connection: Connection) -> str:
    """Return the id that the store was given when it was made; a copy has the same."""
    return str(connection.execute(select(identity.c.store_id)).scalar_one())
