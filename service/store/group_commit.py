"""Small writes that many wait for, in one transaction: one thread writes for all of them.

A commit is forced to disk, and a statement costs more than the rows it writes. What comes while the
thread writes is written next, together: the more is asked of it, the less each costs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# Assumed: beyond it a commit is no longer what costs, and those behind wait too long.
AT_ONCE = 64


class GroupCommit(Generic[Item, Outcome]):
    """Takes items from any thread."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        write: Callable[[Connection, Sequence[Item]], Sequence[Outcome | Exception]],
    ) -> None:
        """`begin` gives a transaction; `write` writes items, and returns what came of each.

        `write` may be run twice, the first time undone.
        """
        self._begin = begin
        self._write = write
        self._waiting: deque[tuple[Item, Future[Outcome]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="group-commit")

    def submit(self, item: Item) -> "Future[Outcome]":
        """Return what will come of an item once it is committed.

        Where `write` has no outcome but an error for it, that is raised; what comes of others does
        not touch it.
        """
        future: Future[Outcome] = Future()
        self._waiting.append((item, future))
        self._thread.submit(self._write_waiting)
        return future

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._thread.shutdown()

    def _write_waiting(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        # Nobody waits any longer for one that was cancelled.
        group = [one for one in taken if one[1].set_running_or_notify_cancel()]
        if group:
            self._write_group(group)

    def _write_group(self, group: Sequence[tuple[Item, "Future[Outcome]"]]) -> None:
        try:
            with self._begin() as connection:
                outcomes = self._write(connection, [item for item, _ in group])
        except SQLAlchemyError as error:
            if len(group) == 1:
                _fail(group, error)
            else:
                # One value that cannot be stored is to fail one; a disk that is full fails each.
                for one in group:
                    self._write_group([one])
        except BaseException as error:  # noqa: BLE001  # raised where it was asked for
            _fail(group, error)
        else:
            # Not before the commit: nobody is to take for stored what was undone.
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)


def _fail(group: Sequence[tuple[Item, "Future[Outcome]"]], error: BaseException) -> None:
    for _, future in group:
        future.set_exception(error)
