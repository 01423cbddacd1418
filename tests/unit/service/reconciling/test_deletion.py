"""Deleting jobs with their run directories, and what a crash leaves of it."""

import errno
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from service.access.caller import EVERYONE, Caller, Role
from service.control_plane import ControlPlane
from service.jobs.lifecycle import Decision, RefusedError
from service.reconciling import deletion, finisher
from service.reconciling.deletion import Deletions, NotDeletedError
from service.reconciling.reconciler import Reconciler
from service.settings import Settings
from service.steady_clock import PROCESS_CLOCK
from service.store.audit import read_audit
from service.store.deletion import check_deletable, delete_job
from service.store.errors import JobNotFoundError
from service.store.leases import LostLeadershipError, read_lease, take_lease
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
        lambda _job_id: Deletions(store, run_root).finish(),
    ]
    if dies_before == "the rows":
        endings.append(lambda job_id: Deletions(store, run_root).delete(job_id, EVERYONE))
    for number, finish in enumerate(endings):
        job_id = f"a{number}"
        job_in(store, Status.SUCCEEDED, job_id)
        (run_root / job_id / "deep").mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.setattr(deletion, step, die)
            with pytest.raises(Crash):
                Deletions(store, run_root).delete(job_id, EVERYONE)
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
            Deletions(store, run_root).delete("a", EVERYONE)
        assert names(run_root) == (["a", "other"] if has_folder else ["other"])
        assert store.job("a").status is Status.RUNNING
        if has_folder:
            assert (run_root / "a" / "attempts" / "1" / "order.json").read_text() == "{}"
            (run_root / "a").rename(run_root.with_name("away"))


def test_a_mark_on_the_folder_of_a_live_job_is_taken_off(store: Store, run_root: Path) -> None:
    job_in(store, Status.RUNNING, "a")
    (run_root / "a").rename(run_root / ".deleted-a")
    Deletions(store, run_root).finish()
    assert names(run_root) == ["a", "other"]
    assert store.job("a").status is Status.RUNNING


def test_what_is_set_aside_of_a_live_job_never_takes_the_place_of_another_folder(
    store: Store, run_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job_in(store, Status.RUNNING, "a")
    (run_root / "a").rename(run_root / ".deleted-a")
    (run_root / "a").mkdir()
    Deletions(store, run_root).finish()
    assert names(run_root) == [".deleted-a", "a", "other"]
    assert names(run_root / "a") == []
    assert "is left as it is" in caplog.text


def test_without_a_run_root_there_is_nothing_to_finish(store: Store, tmp_path: Path) -> None:
    Deletions(store, tmp_path / "gone").finish()


def lead(store: Store, holder: str) -> int:
    def take(connection: Connection) -> int | None:
        return take_lease(
            connection,
            read_lease(connection),
            holder=holder,
            url=f"http://{holder}",
            duration_s=60,
            clock=PROCESS_CLOCK.read(),
        )

    fence = store.write(take)
    assert fence is not None
    return fence


@pytest.mark.parametrize(
    ("num_writes", "num_renamed", "is_decided"),
    [
        # After it was found deletable; after its folder was renamed; after some rows went.
        (1, 0, False),
        (1, 1, False),
        (2, 1, True),
    ],
)
def test_a_job_whose_deletion_another_leader_cuts_short_stays_whole_or_goes(
    *,
    store: Store,
    store_url: str,
    run_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_writes: int,
    num_renamed: int,
    is_decided: bool,
) -> None:
    job_in(store, Status.SUCCEEDED, "a")
    fence = lead(store, "first")
    done = {"writes": 0, "renamed": 0}

    def count(what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def act_and_count(*arguments: Any) -> Any:
            result = act(*arguments)
            done[what] += 1
            if done == {"writes": num_writes, "renamed": num_renamed}:
                lead(store, "second")
            return result

        return act_and_count

    with closing(Store(store_url, fence=lambda: fence)) as frozen, monkeypatch.context() as patch:
        patch.setattr(frozen, "write", count("writes", frozen.write))
        patch.setattr(deletion, "_set_aside", count("renamed", deletion._set_aside))
        with pytest.raises(LostLeadershipError):
            Deletions(frozen, run_root).delete("a", EVERYONE)
    assert done == {"writes": num_writes, "renamed": num_renamed}
    assert (run_root / "a").exists() is not is_decided
    Deletions(store, run_root).finish()
    assert names(run_root) == (["other"] if is_decided else ["a", "other"])
    assert {job.id for job in store.jobs(limit=9)} == (set() if is_decided else {"a"})


def test_what_hinders_one_hinders_no_other_and_is_told_once(
    store: Store,
    run_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    for job_id in ("a", "b", "other"):
        job_in(store, Status.SUCCEEDED, job_id)
        (run_root / job_id).mkdir(exist_ok=True)
        (run_root / job_id).rename(run_root / f".deleted-{job_id}")
    deletions = Deletions(store, run_root)

    def fail_at_a(connection: Connection, job_id: str, *arguments: Any) -> None:
        if job_id == "a":
            raise OperationalError("DELETE", None, Exception("database is locked"))
        delete_job(connection, job_id, *arguments)

    def fail_at_b(aside: Path) -> None:
        if aside.name == ".deleted-b":
            raise PermissionError(errno.EACCES, "Permission denied", str(aside))
        remove(aside)

    remove = deletion._remove
    with monkeypatch.context() as patch:
        patch.setattr(deletion, "delete_job", fail_at_a)
        patch.setattr(deletion, "_remove", fail_at_b)
        for _ in range(3):
            deletions.finish()
    assert names(run_root) == [".deleted-a", ".deleted-b"]
    assert [job.id for job in store.jobs(limit=9)] == ["a"]
    assert caplog.text.count("the deletion of job a is finished later") == 1
    assert caplog.text.count("cannot be removed yet") == 1
    deletions.finish()
    assert names(run_root) == []


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


def test_what_one_that_was_frozen_put_back_meanwhile_goes_too(
    store: Store, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_in(store, Status.SUCCEEDED, "a")

    def delete_while_it_thaws(connection: Connection, *arguments: Any) -> None:
        (run_root / ".deleted-a").rename(run_root / "a")
        delete_job(connection, *arguments)

    (run_root / "a").rename(run_root / ".deleted-a")
    monkeypatch.setattr(deletion, "delete_job", delete_while_it_thaws)
    Deletions(store, run_root).finish()
    assert names(run_root) == ["other"]


def test_a_folder_that_takes_long_holds_up_neither_ticks_nor_the_stop(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / ".deleted-a").mkdir(parents=True)
    removing, may_end = threading.Event(), threading.Event()
    ticks: list[bool] = []

    def hang(_aside: Path) -> None:
        removing.set()
        may_end.wait()

    monkeypatch.setattr(deletion, "_remove", hang)
    monkeypatch.setattr(finisher, "STOP_PATIENCE_S", 0.01)
    monkeypatch.setattr(Reconciler, "tick", lambda *_: ticks.append(removing.is_set()))
    plane = ControlPlane(settings.model_copy(update={"run_root": tmp_path / "runs"}), token=None)
    plane.start()

    def ticked() -> bool:
        plane.wake()
        return sum(ticks) > 2

    try:
        wait_until(ticked)
    finally:
        plane.stop()
        assert not may_end.is_set()
        may_end.set()
    wait_until(lambda: not plane._finisher._thread.is_alive())


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
