"""Writes of several threads in one transaction, where a database lets one writer in at a time.

SQLite forces each commit to disk and has those who wait for their turn try again by the clock, so
that a hundred small writes a second keep one another waiting for seconds. Here whoever has the turn
writes for all who wait, and one commit is forced for all of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

Result = TypeVar("Result")


class _Write(Generic[Result]):
    """One that waits; afterwards with what came of it."""

    def __init__(self, do: Callable[[Connection], Result]) -> None:
        self.do = do
        self.is_done = False
        self.value: Result | None = None
        self.error: BaseException | None = None


class GroupCommit:
    """The writing side of a store, by threads of this process; other processes wait as ever."""

    def __init__(self, engine: Engine) -> None:
        """`engine` begins transactions that may write."""
        self._engine = engine
        # Where rows are locked and not the whole store, nobody has to wait for others.
        self._takes_turns = engine.dialect.name == "sqlite"
        self._turn = threading.Lock()
        self._waiting: deque[_Write[Any]] = deque()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection in a transaction of its own, when it is this thread's turn."""
        if not self._takes_turns:
            with self._engine.begin() as connection:
                yield connection
            return
        with self._turn, self._engine.begin() as connection:
            yield connection

    def run(self, do: Callable[[Connection], Result]) -> Result:
        """Return what `do` gives once it is committed; it may be run twice, the first time undone.

        Raises what `do` raises, of which nothing is stored; what others raise does not touch it.
        """
        if not self._takes_turns:
            with self._engine.begin() as connection:
                return do(connection)
        mine = _Write(do)
        self._waiting.append(mine)
        with self._turn:
            if not mine.is_done:
                self._write_all()
        if mine.error is not None:
            raise mine.error
        return mine.value  # type: ignore[return-value]  # set, since there was no error

    def _write_all(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._write(group)
        except SQLAlchemyError as error:
            _fail(group, error)
            # One value that cannot be stored is to fail one; a disk that is full fails each.
            for one in group if len(group) > 1 else ():
                self._write_alone(one)
        except BaseException as error:
            _fail(group, error)
            raise
        finally:
            for one in group:
                one.is_done = True

    def _write_alone(self, one: _Write[Any]) -> None:
        try:
            self._write([one])
        except SQLAlchemyError as error:
            one.error = error
        except BaseException as error:
            # Those behind it keep the error of all: nothing of them is stored.
            one.error = error
            raise

    def _write(self, group: list[_Write[Any]]) -> None:
        with self._engine.begin() as connection:
            for one in group:
                one.value, one.error = None, None
                try:
                    with connection.begin_nested():
                        one.value = one.do(connection)
                except SQLAlchemyError:
                    raise
                except Exception as error:  # noqa: BLE001  # raised where it was asked for
                    one.error = error


def _fail(group: list[_Write[Any]], error: BaseException) -> None:
    """Have nobody take for stored what was undone."""
    for one in group:
        one.value, one.error = None, error
