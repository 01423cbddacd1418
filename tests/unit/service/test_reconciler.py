import errno
import json
import logging
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.events import StatusChanged
from service.lifecycle import CANCEL_GRACE
from service.ray_jobs import RayUnreachableError
from service.reconciler import OUTAGE, Reconciler, sha256_of_token
from service.records import JobRecord
from service.store.store import NewAttempt, Store
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


def test_a_crash_between_the_row_and_the_order_is_mended(world: World) -> None:
    row_only = NewAttempt(number=1, accelerator="cpu", resume_from=None)
    world.store.begin_attempt(world.submit(), row_only, world.now)
    world.restart()
    world.tick()
    order = world.order()
    assert order.token is not None
    assert sha256_of_token(order.token) == world.store.attempt("a", 1).token_sha256
    assert world.store.attempt("a", 1).submitted_at == world.now
    assert world.transitions() == [Status.QUEUED, Status.STARTING]


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


def test_jobs_wait_in_order_of_priority_and_age(world: World) -> None:
    world.submit("a", scale={"cpus_per_replica": 2})
    world.submit("b", scale={"cpus_per_replica": 2})
    world.submit("c", scale={"cpus_per_replica": 2}, priority=1)
    world.submit("d", scale={"cpus_per_replica": 3})
    world.tick()
    statuses = {name: world.status(name) for name in "abcd"}
    assert statuses == {
        "a": Status.QUEUED,
        "b": Status.QUEUED,
        "c": Status.STARTING,
        "d": Status.QUEUED,
    }
    assert "free are" in (world.store.job("a").message or "")
    assert world.store.job("b").message == "waits behind job a"
    assert "whole cluster" in (world.store.job("d").message or "")
    world.end(Outcome(outcome="succeeded"), job_id="c")
    world.tick()
    assert world.status("a") is Status.STARTING
    world.ray.num_cpus = 8
    world.tick()
    assert {world.status(name) for name in "bd"} == {Status.STARTING}


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


def test_a_lost_store_does_not_write_over_attempts_on_disk(world: World) -> None:
    world.folder(3).path.mkdir(parents=True)
    world.submit()
    world.tick()
    assert list(world.ray.jobs) == ["a-4"]


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


def _file_in_place(world: World) -> None:
    world.run_root.mkdir()
    (world.run_root / "a").write_text("in the way")


def _no_space(_attempt: object, _order: object, **_options: bool) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "order.json")


def test_a_run_directory_that_cannot_be_used_fails_the_job_by_name_in_the_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _file_in_place(world)
    world.submit(retry={"max_attempts": 3, "backoff_s": 2})
    world.submit("b")
    world.tick()
    job = world.store.job("a")
    assert (job.status, job.reason) == (Status.RETRYING, Reason.NO_STORAGE)
    assert job.retry_at == world.now + timedelta(seconds=2)
    assert f"the run directory {world.run_root / 'a'} cannot be used" in (job.message or "")
    world.tick(5)
    for _ in range(2):
        world.now += timedelta(seconds=10)
        world.tick(3)
    job = world.store.job("a")
    assert (job.status, job.reason, job.attempt) == (Status.FAILED, Reason.NO_STORAGE, 3)
    assert "move away what lies in its place" in (job.message or "")
    # Nothing of it ran, its neighbour did, and a change is a line without a traceback.
    assert list(world.ray.jobs) == ["b-1"]
    assert "Traceback" not in caplog.text
    assert sum("job a" in record.getMessage() for record in caplog.records) == 4


def test_a_disk_that_has_room_again_lets_the_job_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr("service.reconciler.write_order", _no_space)
        world.submit(retry={"backoff_s": 1})
        world.tick()
        job = world.store.job("a")
        assert (job.status, job.reason) == (Status.RETRYING, Reason.NO_STORAGE)
        assert "No space left on device" in (job.message or "")
    world.now += timedelta(seconds=1)
    world.tick()
    assert world.status() is Status.STARTING
    assert list(world.ray.jobs) == ["a-2"]


def test_checkpoints_that_cannot_be_searched_are_not_taken_for_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_run: object, _attempts: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "attempts")

    with monkeypatch.context() as denied:
        denied.setattr("service.reconciler.resume_point", fail)
        world.submit(retry={"backoff_s": 1})
        world.tick()
        job = world.store.job("a")
        assert (job.status, job.reason, job.num_failures) == (
            *(Status.RETRYING, Reason.NO_STORAGE, 1),
        )
        assert world.ray.submissions == 0
    world.now += timedelta(seconds=1)
    world.tick()
    assert list(world.ray.jobs) == ["a-2"]


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


def test_a_job_that_cannot_be_started_does_not_hold_up_the_next(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Reconciler._begin

    def fail(reconciler: Reconciler, job: JobRecord, *others: Any) -> None:
        if job.id == "a":
            raise RuntimeError("unforeseen")
        begin(reconciler, job, *others)

    monkeypatch.setattr(Reconciler, "_begin", fail)
    world.submit("a")
    world.submit("b")
    world.tick(3)
    assert world.status("a") is Status.QUEUED
    assert world.status("b") is Status.STARTING
    assert caplog.text.count("job a could not be started") == 1


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


def test_a_job_that_waits_for_ray_says_so_until_it_is_there(world: World) -> None:
    world.submit()
    world.reconciler.tick(None)
    assert world.store.job("a").message == OUTAGE
    world.ray.num_cpus = 0
    world.tick()
    message = world.store.job("a").message
    assert message is not None
    assert message.startswith("needs 1 ×")
