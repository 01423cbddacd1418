"""Deleting jobs with their run directories, one request at a time and beside others."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from service.access.caller import EVERYONE, Caller, Role
from service.jobs.lifecycle import Decision, RefusedError
from service.reconciling import deletion
from service.reconciling.deletion import Deletions, NotDeletedError
from service.store.audit import read_audit
from service.store.deletion import check_deletable, delete_job
from service.store.errors import JobNotFoundError
from service.store.store import Store
from service.store.tables import points
from tests.unit.service.conftest import job_in, now, progress, report
from tests.unit.service.reconciling.conftest import names
from trainer.contract.status import Status


def test_the_rows_and_the_folder_of_that_job_alone_go(store: Store, run_root: Path) -> None:
    for job_id in ("a", "other"):
        job_in(store, Status.SUCCEEDED, job_id)
    Deletions(store, run_root).delete("a", EVERYONE)
    assert names(run_root) == ["other"]
    assert [job.id for job in store.jobs(limit=9)] == ["other"]
    with pytest.raises(JobNotFoundError):
        Deletions(store, run_root).delete("a", EVERYONE)


def test_a_long_history_goes_in_transactions_of_its_own(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.deletion.ROWS_AT_ONCE", 2)
    job_in(store, Status.RUNNING, "a")
    report(store, "a", *(progress(step) for step in range(1, 10)))
    store.apply(store.job("a"), Decision(status=Status.FAILED), now())
    left: list[int] = []

    def count_then_delete(connection: Connection, *arguments: Any) -> None:
        query = select(func.count()).select_from(points)
        left.append(connection.execute(query).scalar_one())
        delete_job(connection, *arguments)

    monkeypatch.setattr(deletion, "delete_job", count_then_delete)
    Deletions(store, run_root).delete("a", EVERYONE)
    assert left == [0]


def test_a_job_that_never_began_has_no_folder(store: Store, run_root: Path) -> None:
    job_in(store, Status.CANCELLED, "new")
    Deletions(store, run_root).delete("new", EVERYONE)
    assert names(run_root) == ["a", "other"]


def test_a_job_that_has_not_ended_keeps_everything(store: Store, run_root: Path) -> None:
    job_in(store, Status.RUNNING, "a")
    with pytest.raises(RefusedError):
        Deletions(store, run_root).delete("a", EVERYONE)
    assert names(run_root) == ["a", "other"]
    assert store.job("a").status is Status.RUNNING


def test_links_are_removed_and_not_what_they_lead_to(
    store: Store, run_root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (run_root / "a" / "folder").symlink_to(outside)
    (run_root / "a" / "file").symlink_to(outside / "precious")
    (run_root / "linked").symlink_to(outside)
    (run_root / "other" / "hard").hardlink_to(run_root / "a" / "attempts" / "1" / "order.json")
    for job_id in ("a", "linked"):
        job_in(store, Status.FAILED, job_id)
        Deletions(store, run_root).delete(job_id, EVERYONE)
    assert names(run_root) == ["other"]
    assert (outside / "precious").read_text() == "kept"
    # What another job holds of it are names of its own.
    assert (run_root / "other" / "hard").read_text() == "{}"


def test_a_run_root_that_is_away_is_told_and_nothing_is_deleted(
    store: Store, run_root: Path
) -> None:
    job_in(store, Status.SUCCEEDED, "a")
    run_root.rename(run_root.with_name("away"))
    with pytest.raises(NotDeletedError, match="bring back its disk"):
        Deletions(store, run_root).delete("a", EVERYONE)
    assert store.job("a").status is Status.SUCCEEDED


def test_a_deletion_that_is_refused_at_last_gives_the_folder_its_name_again(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(store, Status.RUNNING, "a")
    # As if it had ended when it was looked at first.
    monkeypatch.setattr(deletion, "check_deletable", lambda *_: None)
    for has_folder in (True, False):
        with pytest.raises(RefusedError):
            Deletions(store, run_root).delete("a", EVERYONE)
        assert names(run_root) == (["a", "other"] if has_folder else ["other"])
        assert store.job("a").status is Status.RUNNING
        if has_folder:
            assert (run_root / "a" / "attempts" / "1" / "order.json").read_text() == "{}"
            (run_root / "a").rename(run_root.with_name("away"))


def test_a_deletion_that_was_asked_for_is_not_finished_by_another_meanwhile(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Caller(owner="ann", role=Role.SUBMITTER)
    job_in(store, Status.SUCCEEDED, "a")
    deletions = Deletions(store, run_root)
    finished: list[list[str]] = []

    def set_aside_then_look(root: Path, job_id: str) -> bool:
        is_renamed = set_aside(root, job_id)
        other = threading.Thread(target=deletions.finish)
        other.start()
        other.join()
        finished.append(names(run_root))
        return is_renamed

    set_aside = deletion._set_aside
    monkeypatch.setattr(deletion, "_set_aside", set_aside_then_look)
    deletions.delete("a", ann)
    assert finished == [[".deleted-a", "other"]]
    assert names(run_root) == ["other"]
    entries = store.read(lambda connection: read_audit(connection, target="a", limit=1))
    assert [(entry.action, entry.actor) for entry in entries] == [("job.delete", "ann")]


def test_a_request_waits_for_who_is_deleting_that_job(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(store, Status.SUCCEEDED, "a")
    (run_root / "a").rename(run_root / ".deleted-a")
    deletions = Deletions(store, run_root)
    acts: list[str] = []
    requests: list[Future[None]] = []
    asked = threading.Event()

    def check_then_tell(connection: Connection, job_id: str) -> None:
        check_deletable(connection, job_id)
        asked.set()

    def ask_then_delete(job_id: str) -> bool:
        if not requests:
            requests.append(pool.submit(deletions.delete, job_id, EVERYONE))
            assert asked.wait(10)
        return some_history(job_id)

    def note(act: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def do_and_note(*arguments: Any) -> Any:
            acts.append(act)
            return do(*arguments)

        return do_and_note

    some_history = deletions._delete_some_history
    monkeypatch.setattr(deletion, "check_deletable", check_then_tell)
    monkeypatch.setattr(deletion, "_remove", note("remove", deletion._remove))
    monkeypatch.setattr(deletion, "_set_aside", note("set aside", deletion._set_aside))
    monkeypatch.setattr(deletions, "_delete_some_history", ask_then_delete)
    with ThreadPoolExecutor(1) as pool:
        deletions.finish()
        assert isinstance(requests[0].exception(), JobNotFoundError)
    assert acts == ["remove", "set aside"]
    assert names(run_root) == ["other"]
