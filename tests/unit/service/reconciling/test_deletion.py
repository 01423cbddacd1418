"""Deleting jobs with their run directories, and what a crash leaves of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from service.access.caller import EVERYONE
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision, RefusedError
from service.reconciling import deletion
from service.reconciling.deletion import NotDeletedError, delete, finish_deletions
from service.settings import Settings
from service.store.deletion import delete_job
from service.store.errors import JobNotFoundError
from service.store.store import Store
from service.store.tables import points
from tests.unit.service.conftest import job_in, now, progress, report, wait_until
from trainer.contract.status import Status


@pytest.fixture
def run_root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for job_id in ("a", "other"):
        (root / job_id / "attempts" / "1").mkdir(parents=True)
        (root / job_id / "attempts" / "1" / "order.json").write_text("{}")
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_rows_and_the_folder_of_that_job_alone_go(store: Store, run_root: Path) -> None:
    for job_id in ("a", "other"):
        job_in(store, Status.SUCCEEDED, job_id)
    delete(store, run_root, "a", EVERYONE)
    assert names(run_root) == ["other"]
    assert [job.id for job in store.jobs(limit=9)] == ["other"]
    with pytest.raises(JobNotFoundError):
        delete(store, run_root, "a", EVERYONE)


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
    delete(store, run_root, "a", EVERYONE)
    assert left == [0]


def test_a_job_that_never_began_has_no_folder(store: Store, run_root: Path) -> None:
    job_in(store, Status.CANCELLED, "new")
    delete(store, run_root, "new", EVERYONE)
    assert names(run_root) == ["a", "other"]


def test_a_job_that_has_not_ended_keeps_everything(store: Store, run_root: Path) -> None:
    job_in(store, Status.RUNNING, "a")
    with pytest.raises(RefusedError):
        delete(store, run_root, "a", EVERYONE)
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
        delete(store, run_root, job_id, EVERYONE)
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
        delete(store, run_root, "a", EVERYONE)
    assert store.job("a").status is Status.SUCCEEDED


class Crash(BaseException):
    pass


@pytest.mark.parametrize("dies_before", ["the rows", "the files"])
def test_what_a_crash_leaves_is_finished_at_the_next_start_or_request(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    def die(*_arguments: Any, **_options: Any) -> None:
        raise Crash

    step = {"the rows": "delete_job", "the files": "_remove"}[dies_before]
    endings: list[Callable[[str], None]] = [
        lambda _job_id: finish_deletions(store, run_root),
    ]
    if dies_before == "the rows":
        endings.append(lambda job_id: delete(store, run_root, job_id, EVERYONE))
    for number, finish in enumerate(endings):
        job_id = f"a{number}"
        job_in(store, Status.SUCCEEDED, job_id)
        (run_root / job_id / "deep").mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.setattr(deletion, step, die)
            with pytest.raises(Crash):
                delete(store, run_root, job_id, EVERYONE)
        assert not (run_root / job_id).exists()
        assert names(run_root) == [f".deleted-{job_id}", "a", "other"]
        finish(job_id)
        assert names(run_root) == ["a", "other"]
        with pytest.raises(JobNotFoundError):
            store.job(job_id)


def test_a_deletion_that_is_refused_at_last_gives_the_folder_its_name_again(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(store, Status.RUNNING, "a")
    # As if it had ended when it was looked at first.
    monkeypatch.setattr(deletion, "check_deletable", lambda *_: None)
    for has_folder in (True, False):
        with pytest.raises(RefusedError):
            delete(store, run_root, "a", EVERYONE)
        assert names(run_root) == (["a", "other"] if has_folder else ["other"])
        assert store.job("a").status is Status.RUNNING
        if has_folder:
            assert (run_root / "a" / "attempts" / "1" / "order.json").read_text() == "{}"
            (run_root / "a").rename(run_root.with_name("away"))


def test_a_mark_on_the_folder_of_a_live_job_is_taken_off(store: Store, run_root: Path) -> None:
    job_in(store, Status.RUNNING, "a")
    (run_root / "a").rename(run_root / ".deleted-a")
    finish_deletions(store, run_root)
    assert names(run_root) == ["a", "other"]
    assert store.job("a").status is Status.RUNNING


def test_what_is_set_aside_of_a_live_job_never_takes_the_place_of_another_folder(
    store: Store, run_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job_in(store, Status.RUNNING, "a")
    (run_root / "a").rename(run_root / ".deleted-a")
    (run_root / "a").mkdir()
    finish_deletions(store, run_root)
    assert names(run_root) == [".deleted-a", "a", "other"]
    assert names(run_root / "a") == []
    assert "is left as it is" in caplog.text


def test_without_a_run_root_there_is_nothing_to_finish(store: Store, tmp_path: Path) -> None:
    finish_deletions(store, tmp_path / "gone")


def test_a_control_plane_that_starts_finishes_them(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "runs" / ".deleted-a" / "deep").mkdir(parents=True)
    own = settings.model_copy(update={"run_root": tmp_path / "runs"})
    plane = ControlPlane(own, token=None)
    plane.try_to_lead()
    job_in(plane.store, Status.SUCCEEDED, "a")
    plane.start()
    try:
        wait_until(lambda: names(tmp_path / "runs") == [])
        assert plane.store.jobs(limit=9) == []
    finally:
        plane.stop()
