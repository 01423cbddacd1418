"""How often a store's process goes to PostgreSQL and back."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from service.store.store import Store


@contextmanager
def journeys(store: Store) -> Iterator[list[str]]:
    """Give a list that has, after the block, an entry for each journey that was made in it.

    Those of one connection, which all go by that use the store one after the other.
    """
    made: list[str] = []
    with store._at_once.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
    with tempfile.TemporaryFile("w+") as told:
        driver.pgconn.trace(told.fileno())
        try:
            yield made
        finally:
            driver.pgconn.untrace()
        told.seek(0)
        made += [line for line in told if "ReadyForQuery" in line]
