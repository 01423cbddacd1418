"""What a deletion that was cut short leaves, and how it is finished."""

import errno
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from service.access.caller import EVERYONE
from service.control_plane import ControlPlane
from service.reconciling import deletion, finisher
from service.reconciling.deletion import Deletions
from service.reconciling.reconciler import Reconciler
from service.settings import Settings
from service.steady_clock import PROCESS_CLOCK
from service.store.deletion import delete_job
from service.store.errors import JobNotFoundError
from service.store.leases import LostLeadershipError, read_lease, take_lease
from service.store.store import Store
from tests.unit.service.conftest import job_in, wait_until
from tests.unit.service.reconciling.conftest import names
from trainer.contract.status import Status


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
