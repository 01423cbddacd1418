"""What a page of jobs costs: what is passed over on the way to it does not grow with the store."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from service.access.caller import EVERYONE, Caller, Role
from service.store.store import Store
from service.store.tables import jobs, labels
from tests.unit.service.conftest import make_spec, now
from tests.unit.service.databases import Databases
from tests.unit.service.store.statements import statements
from trainer.contract.status import Status

LIMIT = 5
COMMON, RARE = ("purpose", "bench"), ("on", "call")
BOB = Caller(owner="bob", role=Role.VIEWER)
ANN = Caller(owner="ann", role=Role.VIEWER)
OPEN = Caller(owner=None, role=Role.VIEWER)


@pytest.fixture(scope="module")
def stores(databases: Databases) -> Iterator[Mapping[int, Store]]:
    """Of few and of many private jobs of ann's; the oldest have a rare label, and one failed."""
    made = {number: Store(databases.migrated()) for number in (3000, 12_000)}
    for number, store in made.items():
        _fill(store, number)
    yield made
    for store in made.values():
        store.close()


def _fill(store: Store, number: int) -> None:
    store.submit("0", make_spec(), now(), by=ANN, private=True)

    def copy(connection: Any) -> None:
        row = connection.execute(select(jobs)).one()._mapping
        own = {name: value for name, value in row.items() if name != "seq"}
        own["status"] = Status.SUCCEEDED
        connection.execute(insert(jobs), [own | {"id": str(n)} for n in range(1, number)])
        connection.exec_driver_sql("UPDATE jobs SET status = 'FAILED' WHERE id = '3'")
        place = select(jobs.c.id, jobs.c.seq)
        for (key, value), which in ((COMMON, place), (RARE, place.where(jobs.c.seq <= LIMIT))):
            rows = [
                {"job_id": row.id, "key": key, "value": value, "job_seq": row.seq}
                for row in connection.execute(which)
            ]
            connection.execute(insert(labels), rows)

    store.write(copy)
    with store._at_once.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


@pytest.mark.parametrize(
    ("caller", "status", "labelled", "num_found"),
    [
        (BOB, None, [], 0),
        (OPEN, None, [], 0),
        (ANN, None, [], LIMIT),
        (BOB, Status.SUCCEEDED, [], 0),
        (ANN, Status.SUCCEEDED, [], LIMIT),
        (ANN, Status.FAILED, [], 1),
        (BOB, Status.QUEUED, [], 0),
        (BOB, None, [COMMON], 0),
        (BOB, Status.SUCCEEDED, [COMMON, RARE], 0),
        (ANN, None, [COMMON, RARE], LIMIT),
        (EVERYONE, None, [COMMON, RARE], LIMIT),
        (EVERYONE, None, [RARE, COMMON], LIMIT),
        (EVERYONE, Status.FAILED, [COMMON], 1),
    ],
)
def test_a_page_passes_over_as_little_in_a_large_store_as_in_a_small_one(
    stores: Mapping[int, Store],
    caller: Caller,
    status: Status | None,
    labelled: Sequence[tuple[str, str]],
    num_found: int,
) -> None:
    work = []
    for store in stores.values():
        with statements(store._engine) as asked:
            found = store.jobs(status=status, labels=labelled, seen_by=caller, limit=LIMIT)
        assert len(found) == num_found
        work.append(sum(_work_of(store, *one) for one in asked if one[0] != "BEGIN"))
    few, many = work
    assert many <= 1.1 * few + 10


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(
    ("caller", "owner", "status", "labelled", "num_found"),
    [
        (ANN, "ann", None, [], LIMIT),
        (EVERYONE, "ann", Status.FAILED, [], 1),
        (EVERYONE, "bob", None, [], 0),
        (BOB, "bob", Status.SUCCEEDED, [], 0),
        (ANN, "bob", None, [], 0),
        (ANN, "bob", Status.SUCCEEDED, [COMMON], 0),
        (OPEN, "bob", None, [], 0),
        (EVERYONE, "bob", None, [COMMON], 0),
        (ANN, "ann", None, [COMMON, RARE], LIMIT),
        (BOB, None, None, [], 0),
        (ANN, None, Status.SUCCEEDED, [COMMON], LIMIT),
    ],
)
def test_so_does_one_of_an_owner_or_of_the_oldest(
    stores: Mapping[int, Store],
    *,
    caller: Caller,
    owner: str | None,
    status: Status | None,
    labelled: Sequence[tuple[str, str]],
    num_found: int,
    oldest_first: bool,
) -> None:
    work = []
    for store in stores.values():
        with statements(store._engine) as asked:
            found = store.jobs(
                status=status,
                labels=labelled,
                owner=owner,
                seen_by=caller,
                oldest_first=oldest_first,
                limit=LIMIT,
            )
        assert len(found) == num_found
        work.append(sum(_work_of(store, *one) for one in asked if one[0] != "BEGIN"))
    few, many = work
    assert many <= 1.1 * few + 10


def _work_of(store: Store, statement: str, parameters: Any) -> int:
    """Return the instructions that SQLite takes, or the rows that PostgreSQL meets."""
    with store._engine.connect() as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            (plan,) = connection.exec_driver_sql(explained, parameters).scalar_one()
            return _rows_met(plan["Plan"])
        taken = 0

        def step() -> None:
            nonlocal taken
            taken += 1

        driver.set_progress_handler(step, 1)
        connection.exec_driver_sql(statement, parameters).all()
        driver.set_progress_handler(None, 1)
        return taken


def _rows_met(plan: Mapping[str, Any]) -> int:
    met = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    below = sum(map(_rows_met, plan.get("Plans", ())))
    return int(met * plan["Actual Loops"] + below)
