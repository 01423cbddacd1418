from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select

from service.jobs.lifecycle import Decision
from service.reconciling.thinner import JOBS_AT_ONCE, PAUSE_S, Thinner
from service.store.store import Store
from service.store.tables import points
from service.store.thinning import with_more_points
from tests.unit.service.conftest import job_in, now, progress, report
from trainer.contract.attempt import Outcome
from trainer.contract.status import Status


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def num_points(store: Store, job_id: str) -> int:
    query = select(func.count()).where(points.c.job_id == job_id)
    return store.read(lambda connection: connection.execute(query).scalar_one())


def with_points(store: Store, job_id: str, status: Status, number: int) -> None:
    """Leave a job in a status, after so many points."""
    job_in(store, Status.RUNNING, job_id)
    report(store, job_id, *(progress(step) for step in range(1, number + 1)))
    if status is not Status.RUNNING:
        end(store, job_id)


def end(store: Store, job_id: str) -> None:
    done = Decision(status=Status.SUCCEEDED, ended=Outcome(outcome="succeeded"))
    store.apply(store.job(job_id), done, now())


def ticks(thinner: Thinner, clock: Clock, at: datetime, times: int) -> None:
    for _ in range(times):
        clock.now_s += PAUSE_S
        thinner.tick(at)


def thinner_of(store: Store, clock: Clock, **limits: int) -> Thinner:
    given = {"max_points": 100, "old_points": 10} | limits
    return Thinner(store, full_for=timedelta(days=30), clock=clock, **given)


def test_of_a_job_that_is_over_fewer_points_are_kept_and_later_fewer_still(store: Store) -> None:
    with_points(store, "ended", Status.SUCCEEDED, 400)
    with_points(store, "short", Status.SUCCEEDED, 50)
    with_points(store, "runs", Status.RUNNING, 400)
    clock = Clock()
    thinner = thinner_of(store, clock)
    ticks(thinner, clock, now(), 10)
    assert 90 <= num_points(store, "ended") <= 101
    assert [num_points(store, job_id) for job_id in ("short", "runs")] == [50, 400]
    ticks(thinner, clock, now() + timedelta(days=31), 10)
    assert 9 <= num_points(store, "ended") <= 11
    assert 9 <= num_points(store, "short") <= 11
    assert num_points(store, "runs") == 400


def test_little_is_done_at_once_and_no_more_often_than_it_is_time_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.thinning.STEPS_AT_ONCE", 100)
    with_points(store, "ended", Status.SUCCEEDED, 400)
    clock = Clock()
    thinner = thinner_of(store, clock)
    seen = [num_points(store, "ended")]
    for _ in range(5):
        ticks(thinner, clock, now(), 1)
        thinner.tick(now())
        seen.append(num_points(store, "ended"))
    assert seen == [400, 325, 250, 175, 101, 101]


def test_every_round_begins_anew(store: Store) -> None:
    assert JOBS_AT_ONCE > 1
    clock = Clock()
    thinner = thinner_of(store, clock)
    ticks(thinner, clock, now(), 3)
    with_points(store, "later", Status.SUCCEEDED, 200)
    ticks(thinner, clock, now(), 3)
    assert num_points(store, "later") <= 101


def test_a_job_is_looked_at_once_until_it_is_to_have_fewer_points(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[list[str]] = []

    def look(_connection: object, job_ids: list[str], _than: int) -> set[str]:
        looked_at.append(sorted(job_ids))
        return set()

    monkeypatch.setattr("service.reconciling.thinner.with_more_points", look)
    for job_id in ("a", "b"):
        job_in(store, Status.SUCCEEDED, job_id)
    clock = Clock()
    thinner = thinner_of(store, clock)
    ticks(thinner, clock, now(), 5)
    assert looked_at == [["a", "b"]]
    ticks(thinner, clock, now() + timedelta(days=31), 5)
    assert looked_at == [["a", "b"]] * 2


def test_a_tick_looks_at_so_many_jobs_with_one_statement_and_the_next_goes_on_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.reconciling.thinner.JOBS_AT_ONCE", 2)
    looked_at: list[list[str]] = []

    def look(connection: Connection, job_ids: list[str], than: int) -> set[str]:
        looked_at.append(sorted(job_ids))
        return with_more_points(connection, job_ids, than)

    monkeypatch.setattr("service.reconciling.thinner.with_more_points", look)
    for job_id, number in (("a", 5), ("b", 200), ("c", 5)):
        with_points(store, job_id, Status.SUCCEEDED, number)
    clock = Clock()
    thinner = thinner_of(store, clock)
    ticks(thinner, clock, now(), 1)
    assert looked_at == [["a", "b"]]
    ticks(thinner, clock, now(), 3)
    assert looked_at[:2] == [["a", "b"], ["c"]]
    assert num_points(store, "b") <= 101
