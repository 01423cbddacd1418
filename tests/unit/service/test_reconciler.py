import errno
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.events import StatusChanged
from service.lifecycle import CANCEL_GRACE, STORAGE_GRACE
from service.ray_jobs import RayUnreachableError
from service.reconciler import Reconciler
from service.records import JobRecord
from service.starter import sha256_of_token
from service.store.store import Store
from tests.unit.service.world import FakeRay, World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Desired, Status


@pytest.fixture
def world(tmp_path: Path, store: Store) -> World:
    return World(tmp_path, store)


def test_a_job_is_started_run_and_finished(world: World) -> None:
    world.submit()
    world.tick()
    assert world.status() is Status.STARTING
    order = world.order()
    assert (order.job_id, order.attempt, order.resume_from) == ("a", 1, None)
    assert order.control_plane_url == "http://control:8000"
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 1).token_sha256
    assert stat.S_IMODE(world.folder().order.stat().st_mode) == 0o600
    assert world.ray.commands["a-1"] == [
        *("/usr/bin/python3", "-m", "trainer", "attempt"),
        str(world.folder().path),
    ]
    # The token is in the file alone.
    assert order.token not in json.dumps(world.ray.commands)

    world.tick()
    assert world.status() is Status.STARTING
    world.report()
    world.tick()
    assert world.status() is Status.RUNNING
    world.end(Outcome(outcome="succeeded", step=10))
    world.tick()
    assert world.transitions() == [
        *(Status.QUEUED, Status.STARTING, Status.RUNNING, Status.SUCCEEDED)
    ]
    assert world.store.attempt("a", 1).ended_at == world.now
    world.tick()
    assert world.ray.submissions == 1


def test_what_the_attempt_could_not_send_is_taken_from_its_spool(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    spool = b"\n".join(event_of(number).model_dump_json().encode() for number in (1, 2, 3))
    world.folder().events.write_bytes(spool + b'\n{"number": 4, "at"')
    world.end(Outcome(outcome="succeeded", step=3))
    world.tick(2)
    assert world.status() is Status.SUCCEEDED
    progress = world.store.job("a").progress
    assert progress is not None
    assert progress.step == 3
    # The end is the last thing that is told.
    assert isinstance(world.store.events("a", limit=100)[-1].data, StatusChanged)


def test_an_order_that_was_written_is_not_written_again(world: World) -> None:
    world.submit()
    world.ray.refuse_submissions = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    order = world.order()
    world.ray.refuse_submissions = False
    world.restart()
    world.tick()
    assert world.order() == order
    assert world.ray.submissions == 1


def test_a_submission_whose_answer_was_lost_is_not_made_twice(world: World) -> None:
    world.submit()
    world.ray.die_in_submit = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    assert world.store.attempt("a", 1).submitted_at is None
    world.ray.die_in_submit = False
    world.restart()
    world.tick()
    assert world.store.attempt("a", 1).submitted_at is not None
    assert world.ray.submissions == 1
    assert world.transitions() == [Status.QUEUED, Status.STARTING]


def test_a_crashed_attempt_is_followed_by_one_from_the_last_whole_checkpoint(world: World) -> None:
    world.submit(retry={"backoff_s": 2})
    world.tick()
    world.report()
    world.tick()
    world.checkpoint(10)
    torn = world.checkpoint(20)
    (torn / "velocity.safetensors").write_bytes(b"torn")
    world.ray.end("a-1", "worker killed")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.message) == (
        *(Status.RETRYING, Reason.CRASHED, "worker killed"),
    )
    world.tick()
    assert world.status() is Status.RETRYING
    world.now += timedelta(seconds=2)
    world.tick()
    assert world.status() is Status.STARTING
    assert world.order(2).resume_from == "attempts/0001/checkpoints/step-00000010"
    assert list(world.ray.jobs) == ["a-1", "a-2"]


def test_a_fault_of_the_data_fails_the_job_with_its_message(world: World) -> None:
    world.submit()
    world.tick()
    message = "train-00003.tar: sha256 differs; pack it again"
    world.end(Outcome(outcome="failed", reason=Reason.BAD_DATA, message=message))
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason, job.message) == (Status.FAILED, Reason.BAD_DATA, message)


def test_a_job_that_is_gone_from_ray_is_started_again(world: World) -> None:
    world.submit(retry={"backoff_s": 0})
    world.tick()
    world.report()
    world.tick()
    world.ray.jobs.clear()
    world.tick()
    assert world.store.job("a").reason in {Reason.LOST, None}
    assert world.status() is Status.STARTING
    assert world.order(2).attempt == 2


def test_an_outage_of_ray_changes_no_status(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.ray.reachable = False
    world.tick(3)
    world.reconciler.tick(None)
    assert world.status() is Status.RUNNING
    world.ray.reachable = True
    world.end(Outcome(outcome="succeeded"))
    world.tick()
    assert world.status() is Status.SUCCEEDED


def test_a_queued_job_is_cancelled_and_paused_without_ray(world: World) -> None:
    world.submit("a")
    world.submit("b")
    world.store.ask("a", Desired.CANCEL)
    world.store.ask("b", Desired.PAUSE)
    world.reconciler.tick(None)
    assert world.status("a") is Status.CANCELLED
    assert world.status("b") is Status.PAUSED
    world.tick()
    assert world.ray.submissions == 0
    world.store.ask("b", Desired.RUN)
    world.tick(2)
    assert world.status("b") is Status.STARTING


def test_an_attempt_that_does_not_hear_of_a_cancel_is_stopped(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.ask("a", Desired.CANCEL)
    world.tick(2)
    assert world.status() is Status.CANCELLING
    assert world.ray.stopped == []
    world.now += CANCEL_GRACE
    world.tick()
    assert world.ray.stopped == ["a-1"]
    world.ray.end("a-1")
    world.tick()
    assert world.status() is Status.CANCELLED
    assert world.store.job("a").num_failures == 0


def test_a_paused_job_goes_on_from_its_checkpoint(world: World) -> None:
    world.submit()
    world.tick()
    world.report()
    world.tick()
    world.store.ask("a", Desired.PAUSE)
    world.tick()
    assert world.status() is Status.PAUSING
    world.checkpoint(7)
    world.end(Outcome(outcome="paused", step=7))
    world.tick(2)
    assert world.status() is Status.PAUSED
    world.store.ask("a", Desired.RUN)
    world.tick(2)
    assert world.order(2).resume_from == "attempts/0001/checkpoints/step-00000007"


def test_stopping_on_purpose_interrupts_every_attempt_and_counts_against_none(
    world: World,
) -> None:
    world.submit("a")
    world.submit("b")
    world.tick()
    world.report()
    world.end(Outcome(outcome="succeeded"), job_id="b")
    world.reconciler.interrupt()
    job = world.store.job("a")
    assert (job.status, job.reason, job.num_failures) == (
        *(Status.RETRYING, Reason.INTERRUPTED, 0),
    )
    assert world.status("b") is Status.SUCCEEDED
    world.tick()
    assert world.status("a") is Status.STARTING


def test_trouble_with_one_job_does_not_hold_up_another(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit("a")
    world.tick()
    world.submit("b")
    advance = Reconciler._advance

    def fail(reconciler: Reconciler, job: JobRecord, ray: FakeRay) -> str | None:
        if job.id == "a":
            raise RuntimeError("unforeseen")
        return advance(reconciler, job, ray)

    monkeypatch.setattr(Reconciler, "_advance", fail)
    world.tick(3)
    assert world.status("b") is Status.STARTING
    # Once, with its traceback, and not at every tick.
    assert caplog.text.count("job a could not be advanced") == 1
    assert caplog.text.count("Traceback") == 1


def _no_space(_attempt: object, _order: object, **_options: bool) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "order.json")


def _fail_to_read(path: Path, code: int) -> Callable[[Path], bytes]:
    read_bytes = Path.read_bytes

    def read(self: Path) -> bytes:
        if self == path:
            raise OSError(code, "the file server forgot it", str(path))
        return read_bytes(self)

    return read


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
    assert (job.status, job.reason, job.num_failures) == (*(Status.RETRYING, Reason.NO_STORAGE, 1),)


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


def test_an_attempt_of_another_address_is_told_where_to_report_from_now_on(
    world: World,
) -> None:
    world.submit()
    world.tick()
    world.report()
    told = world.order()
    world.url = "http://elsewhere:8000"
    world.restart()
    # Whether Ray answers or not: the attempt looks for somebody to hear it.
    world.reconciler.tick(None)
    order = world.order()
    assert order.control_plane_url == "http://elsewhere:8000"
    assert order == told.model_copy(update={"control_plane_url": "http://elsewhere:8000"})
    assert stat.S_IMODE(world.folder().order.stat().st_mode) == 0o600
    # Its token is still the one that is known.
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 1).token_sha256
    written = world.folder().order.stat().st_ino
    world.tick(3)
    world.restart()
    world.tick(3)
    assert world.folder().order.stat().st_ino == written


def test_an_attempt_that_has_ended_is_not_taken_for_failed_because_its_order_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit()
    world.tick()
    world.report()
    monkeypatch.setattr("service.attempt_files.write_order", _no_space)
    world.url = "http://elsewhere:8000"
    world.restart()
    world.tick(2)
    assert world.status() is Status.RUNNING
    world.end(Outcome(outcome="succeeded"))
    world.tick()
    assert world.status() is Status.SUCCEEDED


def test_an_order_that_nobody_has_read_yet_names_the_one_who_submits_it(world: World) -> None:
    world.submit()
    world.ray.refuse_submissions = True
    with pytest.raises(RayUnreachableError):
        world.tick()
    world.ray.refuse_submissions = False
    world.url = "http://elsewhere:8000"
    world.restart()
    world.tick()
    assert world.order().control_plane_url == "http://elsewhere:8000"
    assert world.ray.submissions == 1


def test_a_job_that_gets_on_is_not_given_up_however_often_ray_forgets_it(world: World) -> None:
    world.submit(retry={"max_attempts": 2, "backoff_s": 0})
    for number in range(1, 6):
        world.tick()
        world.report(number)
        world.tick()
        world.checkpoint(number, number)
        world.ray.jobs.clear()
        world.tick()
    assert world.store.job("a").attempt == 6
    # Without a new checkpoint the second failure in a row is the last.
    world.ray.end("a-6")
    world.tick()
    assert world.status() is Status.FAILED


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
    monkeypatch.setattr("service.reconciler.INTERRUPT_PAUSE_S", 0)
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
    monkeypatch.setattr("service.reconciler.INTERRUPT_PATIENCE_S", 0)
    world.reconciler.interrupt()
    assert "not told of the stop: a, b" in caplog.text
