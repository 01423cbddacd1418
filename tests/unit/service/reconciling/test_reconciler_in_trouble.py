"""The reconciler while disks, folders and the store do not do as they should."""

import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.cluster.ray_jobs import RayJob, SilentRayError
from service.jobs.lifecycle import JITTER, STORAGE_GRACE
from service.jobs.records import JobRecord
from service.reconciling.reconciler import Reconciler
from service.store.store import Store
from tests.unit.service.world import World
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


def _no_space(_attempt: object, _order: object, **_options: bool) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "order.json")


def _fail_to_read(path: Path, code: int) -> Callable[[Path], bytes]:
    read_bytes = Path.read_bytes

    def read(self: Path) -> bytes:
        if self == path:
            raise OSError(code, "the file server forgot it", str(path))
        return read_bytes(self)

    return read


def test_trouble_with_one_job_does_not_hold_up_another(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit("a")
    world.tick()
    world.submit("b")
    advance = Reconciler._advance

    def fail(reconciler: Reconciler, job: JobRecord, *rest: Any) -> str | None:
        if job.id == "a":
            raise RuntimeError("unforeseen")
        return advance(reconciler, job, *rest)

    monkeypatch.setattr(Reconciler, "_advance", fail)
    world.tick(3)
    assert world.status("b") is Status.STARTING
    # Once, with its traceback, and not at every tick.
    assert caplog.text.count("job a could not be advanced") == 1
    assert caplog.text.count("Traceback") == 1


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
def test_an_ended_attempt_whose_outcome_cannot_be_read_for_a_while_has_still_succeeded(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    world.submit(retry={"max_attempts": 1})
    world.tick()
    world.report()
    world.tick()
    world.end(Outcome(outcome="succeeded"))
    with monkeypatch.context() as stale:
        stale.setattr(Path, "read_bytes", _fail_to_read(world.folder().outcome, code))
        world.tick(2)
        world.now += STORAGE_GRACE - timedelta(seconds=1)
        world.tick(2)
        job = world.store.job("a")
        assert job.status is Status.RUNNING
        assert "the file server forgot it" in (job.message or "")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.message) == (Status.SUCCEEDED, None)


def test_an_ended_attempt_whose_folder_stays_away_is_given_up_for_its_storage(
    world: World,
) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    away = world.run_root.with_name("away")
    world.run_root.rename(away)
    # While it lives that says nothing, however long.
    world.now += 2 * STORAGE_GRACE
    world.tick(2)
    world.ray.end("a-1")
    world.tick()
    assert world.status() is Status.RUNNING
    world.now += STORAGE_GRACE
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (*(Status.RETRYING, Reason.NO_STORAGE, 0),)


def test_an_attempt_lives_on_while_its_folder_is_out_of_sight(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.submit()
    world.tick()
    world.report()
    world.folder().outcome.mkdir()
    world.tick(3)
    assert world.status() is Status.RUNNING
    assert caplog.text.count("cannot be used") == 1
    world.folder().outcome.rmdir()
    world.tick(3)
    assert caplog.text.count("its trouble is over") == 1
    world.end(Outcome(outcome="succeeded"))
    world.tick()
    assert world.status() is Status.SUCCEEDED


def test_an_outage_for_one_job_is_a_line_and_not_one_a_tick(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.submit()
    world.tick()
    world.ray.reachable = False
    world.tick(5)
    assert caplog.text.count("job a: no answer") == 1


def test_a_ray_that_does_not_answer_is_waited_for_once_a_tick_and_wishes_are_seen_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ray.num_cpus = 4.0
    for name in ("a", "b", "c"):
        world.submit(name)
    world.tick()
    world.store.ask("c", Desired.CANCEL)
    asked = []

    def time_out(submission_id: str) -> RayJob:
        asked.append(submission_id)
        raise SilentRayError("timed out")

    monkeypatch.setattr(world.ray, "job", time_out)
    world.tick()
    assert asked == ["a-1"]
    assert world.status("c") is Status.CANCELLING


def test_a_stop_is_not_kept_waiting_by_the_jobs_that_are_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        world.submit(name)
    advanced = []
    is_stopping = False

    def note(_reconciler: Reconciler, job: JobRecord, *_: Any) -> None:
        nonlocal is_stopping
        advanced.append(job.id)
        is_stopping = True

    monkeypatch.setattr(Reconciler, "_advance", note)
    monkeypatch.setattr(world.reconciler, "_is_stopping", lambda: is_stopping)
    world.tick()
    assert advanced == ["a"]
    assert world.ray.submissions == 0


def test_an_attempt_that_has_ended_is_not_taken_for_failed_because_its_order_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit()
    world.tick()
    world.report()
    monkeypatch.setattr("service.reconciling.attempt_files.replace_order", _no_space)
    world.url = "http://elsewhere:8000"
    world.restart()
    world.tick(2)
    assert world.status() is Status.RUNNING
    world.end(Outcome(outcome="succeeded"))
    world.tick()
    assert world.status() is Status.SUCCEEDED


def test_a_disk_that_damages_what_it_holds_ends_the_job(world: World) -> None:
    world.submit(retry={"max_attempts": 2, "backoff_s": 0})
    for number in (1, 2):
        world.tick()
        world.report(number)
        world.tick()
        damaged = world.checkpoint(10 * number, number)
        (damaged / "model.safetensors").write_bytes(b"damaged")
        world.ray.end(f"a-{number}", "worker killed")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.num_failures, job.attempt) == (Status.FAILED, 2, 2)


def test_a_store_that_is_locked_at_the_stop_is_waited_for_and_hinders_no_other_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Store.apply
    trouble: list[Exception] = [
        OperationalError("UPDATE", None, Exception("database is locked")),
        RuntimeError("unforeseen"),
    ]

    def fail_at_first(store: Store, *given: Any) -> None:
        if trouble:
            raise trouble.pop(0)
        apply(store, *given)

    for name in ("a", "b"):
        world.submit(name)
    world.tick()
    monkeypatch.setattr(Store, "apply", fail_at_first)
    monkeypatch.setattr("service.reconciling.reconciler.INTERRUPT_PAUSE_S", 0)
    world.reconciler.interrupt()
    # The first was told at the second try; what nobody foresaw is not tried again.
    assert (world.status("a"), world.store.job("a").reason) == (
        *(Status.RETRYING, Reason.INTERRUPTED),
    )
    assert world.status("b") is Status.STARTING


def test_a_store_that_stays_locked_at_the_stop_is_not_waited_for_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_: object) -> None:
        raise OperationalError("UPDATE", None, Exception("database is locked"))

    for name in ("a", "b"):
        world.submit(name)
    world.tick()
    monkeypatch.setattr(Store, "apply", locked)
    monkeypatch.setattr("service.reconciling.reconciler.INTERRUPT_PATIENCE_S", 0)
    world.reconciler.interrupt()
    assert "not told of the stop: a, b" in caplog.text


def test_a_disk_without_room_is_tried_ever_more_seldom_and_gives_no_job_up(world: World) -> None:
    world.submit(retry={"max_attempts": 1, "backoff_s": 20, "max_backoff_s": 70})
    waits = []
    for number in range(1, 5):
        world.tick()
        world.end(Outcome(outcome="failed", reason=Reason.NO_STORAGE), number)
        world.tick()
        job = world.store.job("a")
        assert (job.status, job.num_failures) == (Status.RETRYING, 0)
        assert job.retry_at is not None
        waits.append((job.retry_at - world.now).total_seconds())
        world.now = job.retry_at
    for wait, least in zip(waits, (20, 40, 70, 70), strict=True):
        assert least <= wait <= least * (1 + JITTER)
