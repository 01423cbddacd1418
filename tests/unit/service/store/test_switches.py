"""The drain in the store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, text

from service.access.caller import Caller, Role
from service.jobs.lifecycle import RefusedError
from service.store.audit import read_audit
from service.store.store import Store
from service.store.switches import (
    Drain,
    begin_drain,
    end_drain,
    num_active,
    pause_for_drain,
    read_drain,
)
from tests.unit.service.conftest import job_in
from tests.unit.service.store.statements import scanned, statements
from tests.waiting import wait_for
from trainer.contract.status import ACTIVE, Desired, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ROOT = Caller(owner="root", role=Role.ADMIN)


def drain(store: Store, *, pause: bool, at: datetime = NOW) -> Drain:
    return store.write(lambda connection: begin_drain(connection, ROOT, at, pause=pause))


def test_a_drain_lasts_until_it_is_ended_and_is_begun_once(store: Store) -> None:
    assert store.read(read_drain) is None
    drain(store, pause=False)
    later = NOW + timedelta(hours=1)
    assert drain(store, pause=True, at=later) == Drain(since=NOW, pause=True)
    assert drain(store, pause=False, at=later) == Drain(since=NOW, pause=True)
    assert store.read(read_drain) == Drain(since=NOW, pause=True)
    store.write(lambda connection: end_drain(connection, ROOT, later))
    assert store.read(read_drain) is None
    store.write(lambda connection: end_drain(connection, ROOT, later))
    entries = store.read(lambda connection: read_audit(connection, limit=10))
    assert [entry.action for entry in entries] == ["service.undrain"] + ["service.drain"] * 3


def test_what_runs_is_paused_and_goes_on_and_nothing_else_changes(store: Store) -> None:
    for status in Status:
        job_in(store, status, f"j{status.lower()}")
    wishes = {status: store.job(f"j{status.lower()}").desired for status in Status}
    assert store.write(pause_for_drain) == ()
    drain(store, pause=True)
    asked = {"jstarting", "jrunning"}
    assert set(store.write(pause_for_drain)) == asked
    assert store.write(pause_for_drain) == ()
    for status in Status:
        paused = f"j{status.lower()}" in asked
        expected = Desired.PAUSE if paused else wishes[status]
        assert store.job(f"j{status.lower()}").desired is expected
    store.write(lambda connection: end_drain(connection, ROOT, NOW))
    assert {status: store.job(f"j{status.lower()}").desired for status in Status} == wishes


@pytest.mark.parametrize("desired", [Desired.PAUSE, Desired.CANCEL])
def test_what_its_owner_asked_meanwhile_stays(store: Store, desired: Desired) -> None:
    for job_id in ("a", "b"):
        job_in(store, Status.RUNNING, job_id)
    drain(store, pause=True)
    store.write(pause_for_drain)
    store.ask("a", desired)
    store.write(lambda connection: end_drain(connection, ROOT, NOW))
    assert store.job("a").desired is desired
    assert store.job("b").desired is Desired.RUN
    (entry,) = store.read(lambda connection: read_audit(connection, limit=1))
    assert entry.detail == {"resumed": ["b"]}


def test_what_its_owner_resumed_meanwhile_is_paused_again_and_goes_on(store: Store) -> None:
    job_in(store, Status.RUNNING, "a")
    drain(store, pause=True)
    store.write(pause_for_drain)
    store.ask("a", Desired.RUN)
    assert store.write(pause_for_drain) == ("a",)
    store.write(lambda connection: end_drain(connection, ROOT, NOW))
    assert store.job("a").desired is Desired.RUN


def test_a_wish_that_is_refused_changes_nothing(store: Store) -> None:
    job_in(store, Status.RUNNING, "a")
    drain(store, pause=True)
    store.write(pause_for_drain)
    with pytest.raises(RefusedError):
        store.ask("a", Desired.RUN, replicas=2)
    store.write(lambda connection: end_drain(connection, ROOT, NOW))
    assert store.job("a").desired is Desired.RUN


def test_a_drain_without_pause_leaves_what_runs(store: Store) -> None:
    job_in(store, Status.RUNNING, "a")
    drain(store, pause=False)
    assert store.write(pause_for_drain) == ()
    assert store.job("a").desired is Desired.RUN


def test_active_are_those_that_hold_devices(store: Store) -> None:
    for status in Status:
        job_in(store, status, f"j{status.lower()}")
    assert store.read(num_active) == len(ACTIVE)


@pytest.mark.parametrize("database", ["sqlite"], scope="module")
def test_to_end_a_drain_goes_through_no_jobs_that_were_not_paused(store: Store) -> None:
    drain(store, pause=True)
    with statements(store._engine) as asked:
        store.write(lambda connection: end_drain(connection, ROOT, NOW))
    of_jobs = [one for one in asked if "UPDATE jobs" in one[0] or "FROM jobs" in one[0]]
    assert len(of_jobs) == 2
    assert scanned(store, "jobs", of_jobs) == []


def num_waiting(connection: Connection) -> int:
    """Return how many transactions wait for a lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(connection.execute(query).scalar_one())


@pytest.mark.parametrize("database", ["postgresql"], scope="module")
@pytest.mark.parametrize("what", ["begin", "end"])
def test_jobs_are_locked_in_the_order_of_reports(store: Store, what: str) -> None:
    # By the order of their rows it would be the other.
    for job_id in ("z", "a"):
        job_in(store, Status.RUNNING, job_id)
    drain(store, pause=True)
    change: Callable[[Connection], object] = pause_for_drain
    if what == "end":
        store.write(pause_for_drain)
        change = partial(end_drain, by=ROOT, now=NOW)
    locked = text("SELECT id FROM jobs WHERE id = :id FOR NO KEY UPDATE NOWAIT")
    with ThreadPoolExecutor(1) as pool:
        with store._writing.begin() as reports:
            reports.execute(locked, {"id": "a"})
            done = pool.submit(store.write, change)
            wait_for("its turn", lambda: store.read(num_waiting), timeout_s=10)
            reports.execute(locked, {"id": "z"})
        done.result()
    expected = Desired.PAUSE if what == "begin" else Desired.RUN
    assert [store.job(job_id).desired for job_id in ("a", "z")] == [expected] * 2


@pytest.mark.parametrize("database", ["postgresql"], scope="module")
def test_a_drain_that_ends_waits_for_what_an_owner_asks_and_keeps_to_it(store: Store) -> None:
    job_in(store, Status.RUNNING, "a")
    drain(store, pause=True)
    store.write(pause_for_drain)
    held = text("SELECT id FROM jobs WHERE id = 'a' FOR UPDATE")
    with ThreadPoolExecutor(2) as pool:
        with store._writing.begin() as reports:
            reports.execute(held)
            asked = pool.submit(store.ask, "a", Desired.PAUSE)
            wait_for("the wish to wait", lambda: store.read(num_waiting) == 1, timeout_s=10)
            ended = pool.submit(store.write, partial(end_drain, by=ROOT, now=NOW))
            wait_for("the drain to wait", lambda: store.read(num_waiting) == 2, timeout_s=10)
        asked.result()
        ended.result()
    assert store.job("a").desired is Desired.PAUSE
