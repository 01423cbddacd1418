"""Writes that share a transaction: each as if it were alone."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.store.engine import connect, writing
from service.store.group_commit import AT_ONCE, GroupCommit


class Commits:
    """A table of numbers, and how often it was committed to."""

    def __init__(self, path: Path) -> None:
        self.engine = connect(f"sqlite:///{path}")
        with writing(self.engine).begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
        self.may_begin = threading.Event()
        self.tries: list[Sequence[int]] = []
        self.num_commits = 0
        self.group = GroupCommit(self._begin, self.write)
        event.listen(self.engine, "commit", self._count)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        assert self.may_begin.wait(10)
        with writing(self.engine).begin() as connection:
            yield connection

    def _count(self, _: Connection) -> None:
        self.num_commits += 1

    def write(self, connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        """Store numbers; refuse those below 0."""
        self.tries.append(numbers)
        for number in numbers:
            if number >= 0:
                connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
        return [number if number >= 0 else ValueError(number) for number in numbers]

    def add(self, *numbers: int) -> "list[Future[int]]":
        """Have numbers written together, all but the first, which holds the others up."""
        futures = [self.group.submit(number) for number in numbers]
        self.may_begin.set()
        self.group.close()
        return futures

    def stored(self) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT number FROM numbers")).scalars())


@pytest.fixture
def commits(tmp_path: Path) -> Iterator[Commits]:
    commits = Commits(tmp_path / "numbers.db")
    yield commits
    commits.may_begin.set()
    commits.group.close()
    commits.engine.dispose()


def test_those_who_wait_share_a_commit_and_what_is_refused_is_refused_alone(
    commits: Commits,
) -> None:
    futures = commits.add(1, 2, -3, 4, 5)
    assert isinstance(futures[2].exception(), ValueError)
    assert [futures[place].result() for place in (0, 1, 3, 4)] == [1, 2, 4, 5]
    assert commits.stored() == [1, 2, 4, 5]
    # That of the first, unless all came before it was taken, and one for all who waited.
    assert commits.num_commits <= 2


def test_what_cannot_be_stored_fails_alone(commits: Commits) -> None:
    futures = commits.add(1, 2, 2, 3)
    assert isinstance(futures[2].exception(), IntegrityError)
    assert [futures[place].result() for place in (0, 1, 3)] == [1, 2, 3]
    assert commits.stored() == [1, 2, 3]


def test_a_group_is_no_larger_than_it_may_be(commits: Commits) -> None:
    commits.add(*range(2 * AT_ONCE))
    assert commits.stored() == list(range(2 * AT_ONCE))
    assert max(map(len, commits.tries)) <= AT_ONCE


def test_what_was_undone_and_not_tried_again_is_never_told_as_stored(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, num_alone = commits.write, 0

    def fail(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal num_alone
        outcomes = write(connection, numbers)
        if len(numbers) > 1:
            raise OperationalError("", None, Exception())
        num_alone += 1
        if num_alone == 2:
            raise MemoryError
        return outcomes

    monkeypatch.setattr(commits.group, "_write", fail)
    futures = commits.add(*range(4))
    told = {future.result() for future in futures if future.exception() is None}
    assert len(told) == 3
    assert told == set(commits.stored())


def test_what_nobody_waits_for_any_longer_is_not_written(commits: Commits) -> None:
    futures = [commits.group.submit(number) for number in (1, 2, 3)]
    assert futures[2].cancel()
    commits.may_begin.set()
    commits.group.close()
    assert commits.stored() == [1, 2]


def test_what_is_returned_is_committed(commits: Commits) -> None:
    commits.may_begin.set()
    for number in range(16):
        assert commits.group.submit(number).result() in commits.stored()
