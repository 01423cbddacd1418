"""Quotas and usage in the store."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import text

from service.access.caller import EVERYONE, Caller, Role
from service.access.quotas import UNLIMITED, Quota, QuotaExceededError, Usage
from service.store.attempts import NewAttempt
from service.store.deletion import delete_job
from service.store.quotas import (
    active_limits,
    all_quotas,
    jobs_of,
    owners,
    quota_of,
    set_quota,
    usage_of,
)
from service.store.store import Store
from service.store.tables import attempts, jobs
from tests.unit.service.conftest import make_spec, now, wait_until
from tests.unit.service.store.statements import plan_of, statements
from trainer.contract.status import Desired

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ANN = Caller(owner="ann", role=Role.SUBMITTER)
BOB = Caller(owner="bob", role=Role.SUBMITTER)


def limit(store: Store, owner: str, quota: Quota) -> None:
    store.write(lambda connection: set_quota(connection, owner, quota, EVERYONE, NOW))


def usage(store: Store, owner: str = "ann", at: datetime = NOW) -> Usage:
    return store.read(lambda connection: usage_of(connection, owner, at))


def begin(
    store: Store, job_id: str, *, num_gpus: int, hours_ago: float, ended_ago: float | None
) -> None:
    """Begin an attempt as if it had held devices since so many hours, and until so many."""
    new = NewAttempt(number=1, accelerator="gpu", resume_from=None)
    store.begin_attempt(store.job(job_id), new, NOW)
    began_at = NOW - timedelta(hours=hours_ago)
    ended_at = None if ended_ago is None else NOW - timedelta(hours=ended_ago)
    store.write(
        lambda connection: connection.execute(
            attempts.update()
            .where(attempts.c.job_id == job_id)
            .values(
                num_gpus=num_gpus,
                created_at=began_at - timedelta(hours=1),
                submitted_at=began_at,
                ended_at=ended_at,
            )
        )
    )


def test_a_quota_is_what_was_last_set(store: Store) -> None:
    assert store.read(lambda connection: quota_of(connection, "ann")) == UNLIMITED
    for quota in (
        Quota(max_active_jobs=1, max_queued_jobs=2, gpu_hours=3.5, disk_bytes=2**40),
        Quota(max_active_jobs=0),
        UNLIMITED,
    ):
        limit(store, "ann", quota)
        assert store.read(lambda connection: quota_of(connection, "ann")) == quota
        assert store.read(all_quotas) == {"ann": quota}


def test_jobs_are_counted_by_owner_as_waiting_or_at_work(store: Store) -> None:
    for job_id, caller in (("a", ANN), ("b", ANN), ("c", BOB), ("d", EVERYONE)):
        store.submit(job_id, make_spec(), now(), by=caller)
    begin(store, "a", num_gpus=0, hours_ago=1, ended_ago=None)
    assert usage(store) == Usage(active_jobs=1, queued_jobs=1)
    assert usage(store, "bob") == Usage(queued_jobs=1)
    assert usage(store, "nobody") == Usage()
    assert store.read(lambda connection: jobs_of(connection, "ann")) == ["a", "b"]
    limit(store, "eve", Quota(gpu_hours=1))
    assert store.read(owners) == ["ann", "bob", "eve"]


def test_gpu_hours_are_gpus_times_hours_of_every_attempt(store: Store) -> None:
    for job_id in ("ended", "runs", "cpu", "skewed"):
        store.submit(job_id, make_spec(), now(), by=ANN)
    store.submit("other", make_spec(), now(), by=BOB)
    begin(store, "ended", num_gpus=8, hours_ago=3, ended_ago=1)
    begin(store, "runs", num_gpus=2, hours_ago=0.5, ended_ago=None)
    begin(store, "cpu", num_gpus=0, hours_ago=100, ended_ago=None)
    begin(store, "other", num_gpus=1, hours_ago=1, ended_ago=None)
    # Its clock was set back: no time, and none taken from the others.
    begin(store, "skewed", num_gpus=4, hours_ago=1, ended_ago=2)
    assert usage(store).gpu_hours == pytest.approx(17)
    assert usage(store, at=NOW + timedelta(hours=1)).gpu_hours == pytest.approx(19)


def test_deleting_a_job_gives_no_gpu_hours_back(store: Store) -> None:
    for number, job_id in enumerate(("a", "b")):
        store.submit(job_id, make_spec(), now(), by=ANN)
        begin(store, job_id, num_gpus=2, hours_ago=3, ended_ago=1)
        end(store, job_id)
        store.write(partial(delete_job, job_id=job_id, by=ANN, now=NOW))
        assert usage(store).gpu_hours == pytest.approx(4 * (number + 1))
    assert store.read(owners) == ["ann"]


def test_first_deletions_of_an_owner_at_once_are_both_counted(store: Store) -> None:
    for job_id in ("a", "b"):
        store.submit(job_id, make_spec(), now(), by=ANN)
        begin(store, job_id, num_gpus=2, hours_ago=3, ended_ago=1)
        end(store, job_id)

    def delete(job_id: str) -> None:
        store.write(lambda connection: delete_job(connection, job_id, ANN, NOW))

    with ThreadPoolExecutor(1) as pool:
        with store._writing.begin() as connection:
            delete_job(connection, "a", ANN, NOW)
            second = pool.submit(delete, "b")
            # SQLite has it wait from its beginning, which nothing tells.
            if connection.dialect.name == "postgresql":
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                wait_until(lambda: connection.execute(waiting).scalar_one())
        second.result()
    assert usage(store).gpu_hours == pytest.approx(8)


def end(store: Store, job_id: str) -> None:
    store.write(
        lambda connection: connection.execute(
            jobs.update().where(jobs.c.id == job_id).values(status="FAILED")
        )
    )


def test_a_submission_beyond_a_quota_is_refused_and_leaves_nothing(store: Store) -> None:
    limit(store, "ann", Quota(max_queued_jobs=2))
    for job_id in ("a", "b"):
        store.submit(job_id, make_spec(), now(), by=ANN)
    with pytest.raises(QuotaExceededError, match="max_queued_jobs of ann: 2 jobs wait"):
        store.submit("c", make_spec(), now(), by=ANN)
    assert store.read(lambda connection: jobs_of(connection, "ann")) == ["a", "b"]
    store.submit("d", make_spec(), now(), by=BOB)
    # One that is asked to end still waits, until it has.
    store.ask("a", Desired.CANCEL)
    end(store, "a")
    store.submit("c", make_spec(), now(), by=ANN)


def test_limits_of_who_may_begin_are_known_of_each_who_has_one(store: Store) -> None:
    limit(store, "ann", Quota(max_active_jobs=3))
    limit(store, "bob", Quota(max_active_jobs=3, gpu_hours=1))
    limit(store, "eve", Quota(max_queued_jobs=1))
    assert store.read(lambda connection: active_limits(connection, NOW)) == {"ann": 3, "bob": 3}
    store.submit("b", make_spec(), now(), by=BOB)
    begin(store, "b", num_gpus=1, hours_ago=1, ended_ago=None)
    assert store.read(lambda connection: active_limits(connection, NOW)) == {"ann": 3, "bob": 0}


@pytest.mark.parametrize("database", ["sqlite"], scope="module")
def test_jobs_of_an_owner_that_have_ended_are_not_gone_through(store: Store) -> None:
    with statements(store._engine) as asked:
        usage(store)
    (counted,) = [one for one in asked if "FILTER" in one[0]]
    (step,) = plan_of(store, counted)
    assert step.startswith("SEARCH jobs USING INDEX ix_jobs_status_seq (status=?")
