"""The audit log in the store."""

from datetime import UTC, datetime
from functools import partial

import pytest

from service.access.audit import Action, AuditEntry
from service.access.caller import Caller, Role
from service.jobs.lifecycle import RefusedError
from service.store.audit import note_audit, read_audit, was_deleted
from service.store.deletion import delete_job
from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec, now
from tests.unit.service.store.statements import scanned, statements
from trainer.contract.status import Desired, Status

ANN = Caller(owner="ann", role=Role.SUBMITTER, address="10.0.0.7")


def entries_of(store: Store, target: str | None = None) -> list[AuditEntry]:
    return store.read(lambda connection: read_audit(connection, target=target, limit=100))


def test_what_is_asked_of_a_job_is_told_with_it(store: Store) -> None:
    store.submit("a", make_spec(), now(), by=ANN)
    for desired in (Desired.PAUSE, Desired.RUN, Desired.CANCEL):
        store.ask("a", desired, by=ANN)
    assert [entry.action for entry in entries_of(store, "a")] == [
        "job.cancel",
        "job.resume",
        "job.pause",
        "job.submit",
    ]
    assert {(entry.actor, entry.address) for entry in entries_of(store)} == {("ann", "10.0.0.7")}


def test_what_is_refused_is_not_told(store: Store) -> None:
    job_in(store, Status.SUCCEEDED, "done")
    before = entries_of(store)
    with pytest.raises(RefusedError):
        store.ask("done", Desired.CANCEL, by=ANN)
    assert entries_of(store) == before


def test_the_log_is_read_from_the_newest_on_by_pages(store: Store) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    for number in range(5):
        target = "a" if number % 2 else "b"
        noted = partial(
            note_audit, caller=ANN, action=Action.PIN, target=target, now=at, step=number
        )
        store.write(noted)
    every = entries_of(store)
    assert [entry.detail for entry in every] == [{"step": n} for n in (4, 3, 2, 1, 0)]
    assert every[0].at == at
    page = store.read(lambda c: read_audit(c, before_seq=every[1].seq, limit=2))
    assert page == every[2:4]
    assert [entry.detail for entry in entries_of(store, "a")] == [{"step": 3}, {"step": 1}]


def test_a_job_that_was_deleted_is_told_from_one_that_never_was(store: Store) -> None:
    for job_id in ("gone", "there"):
        job_in(store, Status.FAILED, job_id)
    store.write(lambda connection: delete_job(connection, "gone", ANN, now()))
    found = {
        job_id: store.read(partial(was_deleted, job_id=job_id))
        for job_id in ("gone", "there", "never")
    }
    assert found == {"gone": True, "there": False, "never": False}


def test_whether_one_was_is_found_by_an_index(store: Store) -> None:
    if store._engine.dialect.name != "sqlite":
        pytest.skip("about the plans of SQLite")
    with statements(store._engine) as asked:
        store.read(lambda connection: was_deleted(connection, "a"))
    assert asked
    assert scanned(store, "audit", asked) == []
