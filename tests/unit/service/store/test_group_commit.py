"""Writes that share a transaction: each as if it were alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.store.engine import connect, writing
from service.store.group_commit import GroupCommit


class Commits:
    """A table of numbers, and how often it was committed to."""

    def __init__(self, path: Path) -> None:
        self.engine = connect(f"sqlite:///{path}")
        self.group = GroupCommit(writing(self.engine))
        with self.group.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
        self.num_commits = 0
        event.listen(self.engine, "commit", self._count)

    def _count(self, _: Connection) -> None:
        self.num_commits += 1

    def add(self, number: int) -> int:
        def do(connection: Connection) -> int:
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
            if number < 0:
                raise ValueError(number)
            return number

        return self.group.run(do)

    def stored(self) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT number FROM numbers")).scalars())


@pytest.fixture
def commits(tmp_path: Path) -> Iterator[Commits]:
    commits = Commits(tmp_path / "numbers.db")
    yield commits
    commits.engine.dispose()


def test_those_who_wait_share_a_commit_and_what_fails_fails_alone(commits: Commits) -> None:
    numbers = [1, 2, -3, 4, 1, 5]
    with ThreadPoolExecutor(len(numbers)) as pool:
        with commits.group.begin():
            # All wait for the turn that this has.
            futures = [pool.submit(commits.add, number) for number in numbers]
            while len(commits.group._waiting) < len(numbers):
                threading.Event().wait(0.001)
        errors = [future.exception() for future in futures]
    assert isinstance(errors[2], ValueError)
    # Either of the two equal ones is the second.
    assert [type(error) for error in (errors[0], errors[4]) if error] == [IntegrityError]
    assert [errors[index] for index in (1, 3, 5)] == [None] * 3
    assert commits.stored() == [1, 2, 4, 5]


def test_what_was_undone_and_not_tried_again_is_never_told_as_stored(commits: Commits) -> None:
    tries: list[int] = []

    def do(connection: Connection, number: int) -> int:
        tries.append(number)
        # All fail by the first; then each is tried alone, and memory runs out on the way.
        if tries == [0]:
            raise OperationalError("", None, Exception())
        if len(tries) == 3:
            raise MemoryError
        connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
        return number

    def ask(number: int) -> int:
        return commits.group.run(lambda connection: do(connection, number))

    with ThreadPoolExecutor(3) as pool:
        with commits.group.begin():
            futures = []
            for number in range(3):
                futures.append(pool.submit(ask, number))
                while len(commits.group._waiting) <= number:
                    threading.Event().wait(0.001)
        told = {future.result() for future in futures if future.exception() is None}
    assert told == set(commits.stored())


def test_many_writes_take_few_commits(commits: Commits) -> None:
    with ThreadPoolExecutor(16) as pool:
        with commits.group.begin():
            futures = [pool.submit(commits.add, number) for number in range(16)]
            while len(commits.group._waiting) < 16:
                threading.Event().wait(0.001)
        assert sorted(future.result() for future in futures) == list(range(16))
    # That of the turn, and one for all who waited.
    assert commits.num_commits == 2
    assert commits.stored() == list(range(16))


def test_what_is_returned_is_committed(commits: Commits) -> None:
    seen: list[bool] = []

    def add_and_look(number: int) -> None:
        commits.add(number)
        seen.append(number in commits.stored())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_and_look, range(64)))
    assert seen == [True] * 64


def test_a_transaction_of_its_own_is_rolled_back_on_an_error(commits: Commits) -> None:
    def add_and_fail() -> None:
        with commits.group.begin() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (7)"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        add_and_fail()
    assert commits.stored() == []
    assert commits.add(7) == 7
