"""Empty stores on either database, and a PostgreSQL of our own for as long as they are needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import running_postgres

DATABASES = ("sqlite", "postgresql")


@contextmanager
def opened(database: str, folder: Path) -> Iterator[Callable[[str], str]]:
    """Give what makes an empty store by name and returns its URL."""
    folder.mkdir(parents=True)
    if database == "sqlite":
        yield lambda name: f"sqlite:///{folder / name}.db"
        return
    # As an operator has it: what was answered is on disk.
    with running_postgres(durable=True) as server:
        yield server.create
