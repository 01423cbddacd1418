import json
import stat
from datetime import timedelta

import pytest

from service.cluster.ray_jobs import RayUnreachableError
from service.jobs.events import StatusChanged
from service.jobs.records import AttemptRecord
from service.reconciling.starter import sha256_of_token
from service.store.store import Store
from tests.unit.service.world import World, event_of
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status


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
    world.now += timedelta(seconds=2.2)
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


def test_attempts_are_read_one_by_one_only_while_they_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    attempt = Store.attempt

    def note(store: Store, job_id: str, number: int) -> AttemptRecord:
        read.append(job_id)
        return attempt(store, job_id, number)

    world.ray.num_cpus = 3
    for job_id in ("a", "b", "starts"):
        world.submit(job_id)
    world.tick()
    for job_id in ("a", "b"):
        world.store.append_events(job_id, 1, [event_of(1)])
    world.tick()
    monkeypatch.setattr(Store, "attempt", note)
    world.tick()
    assert [world.status(job_id) for job_id in ("a", "b", "starts")] == [
        *(Status.RUNNING, Status.RUNNING, Status.STARTING)
    ]
    assert read == ["starts"]


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
