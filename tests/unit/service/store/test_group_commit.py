"""Writes that share a transaction: each as if it were alone."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from service.store.engine import connect, writing
from service.store.errors import NotWrittenError
from service.store.group_commit import AT_ONCE, GroupCommit


class Commits:
    """A table of numbers, and how often it was committed to."""

    def __init__(self, path: Path) -> None:
        self.engine = connect(f"sqlite:///{path}")
        with writing(self.engine).begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
        self.has_begun, self.may_begin = threading.Event(), threading.Event()
        self.tries: list[Sequence[int]] = []
        self.num_commits = 0
        self.group = GroupCommit(self._begin, self.write)
        event.listen(self.engine, "commit", self._count)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        self.has_begun.set()
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

    def hold_up(self, number: int) -> "Future[int]":
        """Have a number taken alone; what is submitted next waits behind it."""
        future = self.group.submit(number)
        assert self.has_begun.wait(10)
        return future

    def add(self, first: int, *numbers: int) -> "list[Future[int]]":
        """Have numbers written together, all but the first, which holds the others up."""
        futures = [self.hold_up(first), *map(self.group.submit, numbers)]
        self.may_begin.set()
        wait(futures)
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
    # That of the first, and one for all who waited.
    assert commits.num_commits == 2


def test_what_cannot_be_stored_fails_alone(commits: Commits) -> None:
    futures = commits.add(1, 2, 2, 3)
    assert isinstance(futures[2].exception(), IntegrityError)
    assert [futures[place].result() for place in (0, 1, 3)] == [1, 2, 3]
    assert commits.stored() == [1, 2, 3]


def test_a_group_is_no_larger_than_it_may_be(commits: Commits) -> None:
    commits.add(*range(2 * AT_ONCE))
    assert commits.stored() == list(range(2 * AT_ONCE))
    assert max(map(len, commits.tries)) <= AT_ONCE


# A deadlock is told by PostgreSQL alone, a number beyond all by either driver.
DEADLOCK = OperationalError("", None, DeadlockDetected())
AWAY = OperationalError("", None, Exception("database is locked"))


@pytest.mark.parametrize("refused", [DEADLOCK, DataError("", None, Exception()), OverflowError()])
def test_what_was_refused_together_is_tried_one_by_one(
    commits: Commits, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    write = commits.write

    def fail(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        outcomes = write(connection, numbers)
        if 2 in numbers:
            raise refused
        return outcomes

    monkeypatch.setattr(commits.group, "_write", fail)
    futures = commits.add(1, 2, 3)
    assert [future.exception() for future in futures] == [None, refused, None]
    assert commits.stored() == [1, 3]


@pytest.mark.parametrize("refused", [AWAY, NoConnectionError(), RuntimeError(), MemoryError()])
def test_a_store_that_is_away_is_asked_once_for_all_who_wait(
    commits: Commits, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    def fail(_connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        commits.tries.append(numbers)
        raise refused

    monkeypatch.setattr(commits.group, "_write", fail)
    futures = commits.add(*range(5))
    assert [future.exception() for future in futures] == [refused] * 5
    assert commits.tries == [[0], [1, 2, 3, 4]]


def test_a_store_that_goes_away_meanwhile_fails_those_who_are_left(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, alone = commits.write, list[int]()

    def fail(connection: Connection, numbers: Sequence[int]) -> Sequence[int | Exception]:
        if len(numbers) > 1:
            raise DEADLOCK
        alone.extend(numbers)
        if 2 in numbers:
            raise AWAY
        return write(connection, numbers)

    monkeypatch.setattr(commits.group, "_write", fail)
    futures = commits.add(*range(5))
    assert [future.exception() for future in futures] == [None, None, AWAY, AWAY, AWAY]
    assert alone == [*commits.stored(), 2] == [0, 1, 2]


def test_what_nobody_waits_for_any_longer_is_not_written(commits: Commits) -> None:
    futures = [commits.hold_up(1), commits.group.submit(2), commits.group.submit(3)]
    assert futures[1].cancel()
    commits.may_begin.set()
    assert futures[2].result() == 3
    assert commits.stored() == [1, 3]


def test_no_more_than_so_many_wait(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.group_commit.MAX_WAITING", 3)
    futures = [commits.hold_up(0), *map(commits.group.submit, range(1, 5))]
    with pytest.raises(NotWrittenError, match="not written: 3 wait before it"):
        futures[4].result()
    commits.may_begin.set()
    assert [future.result() for future in futures[:4]] == [0, 1, 2, 3]


def test_no_more_bytes_wait_than_may(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.group_commit.MAX_WAITING_BYTES", 10)
    first = commits.hold_up(0)
    futures = [commits.group.submit(size, size_bytes=size) for size in (4, 6, 1)]
    with pytest.raises(NotWrittenError, match="not written: 10 bytes wait before it"):
        futures[2].result(timeout=0)
    commits.may_begin.set()
    assert [future.result() for future in (first, *futures[:2])] == [0, 4, 6]
    # What was written waits no longer.
    assert commits.group.submit(10, size_bytes=10).result() == 10


def test_what_fails_beyond_all_that_is_foreseen_keeps_nobody_waiting(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures = [commits.hold_up(1), *(commits.group.submit(n, size_bytes=n) for n in (2, 3))]
    assert futures[2].cancel()
    with monkeypatch.context() as broken:
        # Less came of it than was asked for.
        broken.setattr(commits.group, "_write", lambda *_: [])
        commits.may_begin.set()
        for future in futures[:2]:
            assert isinstance(future.exception(timeout=10), ValueError)
    assert commits.group._waiting_bytes == 0
    assert commits.group.submit(4).result(timeout=10) == 4
    assert commits.stored() == [4]


def test_what_had_no_turn_for_long_is_refused(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commits.hold_up(1)
    monkeypatch.setattr("service.store.group_commit.PATIENCE_S", 0.0)
    second = commits.group.submit(2)
    commits.may_begin.set()
    assert first.result() == 1
    with pytest.raises(NotWrittenError, match="no turn came in 0 s"):
        second.result()
    assert commits.stored() == [1]


def test_nobody_is_kept_waiting_in_a_thread(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.group_commit.LONGEST_S", 0.01)
    with pytest.raises(NotWrittenError, match=r"nothing came of it in 0\.01 s"):
        commits.group.write(1)


def test_to_close_refuses_what_waits_and_waits_for_no_lock(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not before the first has its turn, which takes longer on a busy machine.
    first = commits.hold_up(1)
    monkeypatch.setattr("service.store.group_commit.PATIENCE_S", 0.01)
    second = commits.group.submit(2)
    commits.group.close()
    assert not first.done()
    for refused in (second, commits.group.submit(3)):
        with pytest.raises(NotWrittenError, match="the store is being closed"):
            refused.result(timeout=0)
    commits.may_begin.set()
    assert first.result() == 1
    assert commits.stored() == [1]


def test_what_is_returned_is_committed(commits: Commits) -> None:
    commits.may_begin.set()
    for number in range(16):
        assert commits.group.submit(number).result() in commits.stored()
