from sqlalchemy import update

from service.store.running import running_attempts, submission_times
from service.store.store import Store
from service.store.tables import attempts
from tests.unit.service.conftest import job_in, now
from trainer.contract.status import Status


def test_only_attempts_that_run_and_that_ray_is_known_to_have_are_read_at_once(
    store: Store,
) -> None:
    for job_id, status in (
        ("runs", Status.RUNNING),
        ("unknown", Status.RUNNING),
        ("starts", Status.STARTING),
        ("done", Status.SUCCEEDED),
    ):
        job_in(store, status, job_id)
    for job_id in ("runs", "starts", "done"):
        store.note_submitted(job_id, 1, now())
    assert store.read(running_attempts) == {"runs": store.attempt("runs", 1)}


def test_an_attempt_that_cannot_be_read_leaves_every_one_to_be_read_alone(store: Store) -> None:
    for job_id in ("a", "b"):
        job_in(store, Status.RUNNING, job_id)
        store.note_submitted(job_id, 1, now())
    assert set(store.read(running_attempts)) == {"a", "b"}
    damage = update(attempts).where(attempts.c.job_id == "a").values(outcome={"outcome": "odd"})
    store.write(lambda connection: connection.execute(damage))
    assert store.read(running_attempts) == {}


def test_of_attempts_that_start_it_is_read_when_ray_took_them(store: Store) -> None:
    for job_id in ("taken", "unknown"):
        job_in(store, Status.STARTING, job_id)
    job_in(store, Status.RUNNING, "runs")
    at = now()
    for job_id in ("taken", "runs"):
        store.note_submitted(job_id, 1, at)
    assert store.read(submission_times) == {"taken": at, "unknown": None}
