"""Deleting the rows of a job."""

from itertools import pairwise

import pytest
from sqlalchemy import Connection, func, insert, select, update

from service.access.caller import EVERYONE
from service.jobs.lifecycle import Decision, RefusedError
from service.store.audit import read_audit
from service.store.deletion import check_deletable, delete_job, delete_some_history
from service.store.errors import JobNotFoundError
from service.store.store import Store
from service.store.tables import audit, counted, jobs, metadata, points
from tests.unit.service.conftest import job_in, make_spec, now, progress, report
from tests.unit.service.store.statements import statements
from trainer.contract.attempt import Outcome
from trainer.contract.events import CheckpointSaved
from trainer.contract.status import TERMINAL, Status


def rows_by_table(store: Store) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            # What is left of a job that was deleted.
            if table not in (audit, counted)
        }

    return store.read(count)


def fill(store: Store, job_id: str) -> None:
    """Have a job that succeeds leave something in every table that jobs are in."""
    spec = make_spec(labels={"team": "blue"})
    job_in(store, Status.RUNNING, job_id, spec=spec)
    saved = CheckpointSaved(
        step=10, epoch=1.0, path="p", size_bytes=1, weights_sha256="0" * 64, top1=None
    )
    report(store, job_id, progress(3), saved)
    values = progress(4).model_dump(include={"step", "epoch", "loss", "learning_rate"})
    values |= {"images_per_second": 1.0, "data_wait_ratio": 0.0}
    store.write(
        lambda connection: connection.execute(
            insert(points).values(job_id=job_id, attempt=1, at=now(), **values)
        )
    )
    ended = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    store.apply(store.job(job_id), ended, now())


def test_every_row_of_the_job_goes_and_none_of_another(store: Store) -> None:
    fill(store, "other")
    before = rows_by_table(store)
    fill(store, "a")
    assert rows_by_table(store) != before
    store.write(lambda connection: delete_job(connection, "a", EVERYONE, now()))
    assert rows_by_table(store) == before
    with pytest.raises(JobNotFoundError):
        store.job("a")
    with pytest.raises(JobNotFoundError):
        store.write(lambda connection: delete_job(connection, "a", EVERYONE, now()))
    entries = store.read(lambda connection: read_audit(connection, target="a", limit=10))
    assert entries[0].action == "job.delete"


def test_rows_that_deletions_share_are_locked_last(store: Store) -> None:
    fill(store, "a")
    store.write(lambda connection: connection.execute(update(jobs).values(owner="ann")))
    with statements(store._engine) as asked:
        store.write(lambda connection: delete_job(connection, "a", EVERYONE, now()))
    did = [statement.split()[:3] for statement, _ in asked]
    writes = [words for words in did if words[0] in {"DELETE", "INSERT"}]
    first_shared = writes.index(["INSERT", "INTO", "spent"])
    assert {words[0] for words in writes[:first_shared]} == {"DELETE"}
    tables = [words[2] for words in writes[first_shared:]]
    assert list(dict.fromkeys(tables)) == ["spent", "counted", "audit"]


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_a_job_that_has_not_ended_stays(store: Store, status: Status) -> None:
    job_in(store, status, "a")
    before = rows_by_table(store)
    for refused in (
        lambda connection: check_deletable(connection, "a"),
        lambda connection: delete_job(connection, "a", EVERYONE, now()),
    ):
        with pytest.raises(RefusedError, match=f"job a is {status}; cancel it"):
            store.write(refused)
    assert rows_by_table(store) == before


def test_history_goes_a_few_rows_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.deletion.ROWS_AT_ONCE", 2)
    fill(store, "other")
    others = rows_by_table(store)
    fill(store, "a")
    seen = [rows_by_table(store)]
    while store.write(lambda connection: delete_some_history(connection, "a")):
        seen.append(rows_by_table(store))
    seen.append(rows_by_table(store))
    assert len(seen) > 2
    for before, after in pairwise(seen):
        for table in ("points", "events"):
            assert before[table] - after[table] <= 2
    history = {table: others[table] for table in ("points", "events")}
    assert seen[-1] == seen[0] | history


def test_no_history_goes_of_a_job_that_has_not_ended(store: Store) -> None:
    job_in(store, Status.RUNNING, "a")
    before = rows_by_table(store)
    with pytest.raises(RefusedError):
        store.write(lambda connection: delete_some_history(connection, "a"))
    assert rows_by_table(store) == before
