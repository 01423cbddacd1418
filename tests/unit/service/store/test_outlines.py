"""The loss of jobs in a few points."""

from sqlalchemy import Connection

from service.jobs.lifecycle import Decision
from service.store.attempts import NewAttempt
from service.store.outlines import POINTS, read_outlines
from service.store.store import Store
from tests.unit.service.conftest import job_in, now, progress, report
from tests.unit.service.store.statements import statements
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.status import Status


def outlines(store: Store, **steps: int) -> dict[str, list[float]]:
    return store.read(lambda connection: read_outlines(connection, steps))


def test_short_histories_are_told_whole_and_in_order(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    job_in(store, Status.QUEUED, "waits")
    report(store, "runs", *(progress(step, loss=10 - step) for step in range(1, 6)))
    assert outlines(store, runs=5, waits=0) == {"runs": [9, 8, 7, 6, 5], "waits": []}


def test_of_long_ones_one_point_of_each_range_is_told_and_the_last(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    report(store, "runs", *(progress(step, loss=step) for step in range(1, 1001)))
    told = outlines(store, runs=1000)["runs"]
    assert len(told) == POINTS
    assert told == sorted(told)
    assert told[-1] == 1000


def test_steps_that_were_done_again_are_told_as_the_newest_attempt_did_them(store: Store) -> None:
    job_in(store, Status.RUNNING, "runs")
    report(store, "runs", *(progress(step, loss=1.0) for step in range(1, 11)))
    begin_again(store, after=6)
    report(store, "runs", *(progress(step, loss=2.0) for step in range(7, 9)))
    assert outlines(store, runs=8)["runs"] == [1.0] * 6 + [2.0] * 2


def begin_again(store: Store, *, after: int) -> None:
    failed = Outcome(outcome="failed", reason=Reason.CRASHED)
    retry = Decision(status=Status.RETRYING, ended=failed, reason=Reason.CRASHED)
    store.apply(store.job("runs"), retry, now())
    checkpoint = f"attempts/0001/checkpoints/step-{after:08d}"
    again = NewAttempt(number=2, accelerator="cpu", resume_from=checkpoint)
    store.begin_attempt(store.job("runs"), again, now())


def test_a_page_of_jobs_costs_a_statement_a_job_however_long_they_train(store: Store) -> None:
    ids = [f"job{number}" for number in range(5)]
    for job_id in ids:
        job_in(store, Status.RUNNING, job_id)
        report(store, job_id, *(progress(step) for step in range(1, 200)))

    def read(connection: Connection) -> int:
        with statements(connection) as seen:
            read_outlines(connection, dict.fromkeys(ids, 199))
        return sum("points" in statement for statement, _ in seen)

    assert store.read(read) == len(ids)
