"""The lease's row, and writes that go by its fence, on both databases."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from service.steady_clock import Reading
from service.store.engine import connect, writing
from service.store.errors import NotWrittenError
from service.store.leases import (
    LeaseRecord,
    LostLeadershipError,
    has_leases,
    read_lease,
    release_lease,
    renew_lease,
    take_lease,
)
from service.store.store import Store
from tests.unit.service.conftest import FIRST_ATTEMPT, job_in, make_spec, now
from trainer.contract.status import Desired, Status

READING = Reading(told_s=1_800_000_000.123456, boot="one", steady_s=1000.5)
LATER = replace(READING, told_s=READING.told_s + 5, steady_s=1005.5)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = connect(store_url)
    yield writing(engine)
    engine.dispose()


def take(engine: Engine, holder: str, *, seen: LeaseRecord | None) -> int | None:
    with engine.begin() as connection:
        return take_lease(
            connection, seen, holder=holder, url=f"http://{holder}", duration_s=5.0, clock=READING
        )


def present(engine: Engine) -> LeaseRecord:
    with engine.connect() as connection:
        record = read_lease(connection)
    assert record is not None
    return record


def test_a_new_store_has_no_lease_and_an_empty_one_knows_none(
    engine: Engine, empty_store_url: str
) -> None:
    with engine.connect() as connection:
        assert has_leases(connection)
        assert read_lease(connection) is None
    with closing(Store(empty_store_url)) as empty:
        assert not empty.read(has_leases)


def test_each_holder_has_a_higher_fence_and_each_renewal_is_seen(engine: Engine) -> None:
    assert take(engine, "a", seen=None) == 1
    assert take(engine, "b", seen=None) is None
    first = present(engine)
    assert (first.holder, first.fence, first.released) == ("a", 1, False)

    with engine.begin() as connection:
        assert renew_lease(connection, 1, LATER)
    # Whoever looked before the renewal does not take it.
    assert take(engine, "b", seen=first) is None
    renewed = present(engine)
    assert renewed.renewals > first.renewals
    assert (first.clock, renewed.clock) == (READING, LATER)

    assert take(engine, "b", seen=renewed) == 2
    assert take(engine, "c", seen=renewed) is None
    with engine.begin() as connection:
        assert not renew_lease(connection, 1, LATER)
        release_lease(connection, 1, READING)
    assert not present(engine).released
    with engine.begin() as connection:
        release_lease(connection, 2, LATER)
    released = present(engine)
    assert released.released
    assert released.clock == LATER
    assert take(engine, "a", seen=released) == 3
    assert not present(engine).released


def test_of_many_that_take_it_at_once_one_has_it(engine: Engine) -> None:
    taken: list[int | None] = []

    def race(number: int, seen: LeaseRecord | None) -> None:
        with suppress(OperationalError):
            taken.append(take(engine, str(number), seen=seen))

    for seen in (None, "present"):
        record = None if seen is None else present(engine)
        threads = [threading.Thread(target=race, args=(n, record)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(fence for fence in taken if fence is not None) == [1, 2]


def test_a_leader_that_was_replaced_writes_nothing(store_url: str, engine: Engine) -> None:
    take(engine, "a", seen=None)
    with closing(Store(store_url, fence=lambda: 1)) as leader, closing(Store(store_url)) as any_:
        waits = leader.submit("waits", make_spec(), now())
        starts = job_in(leader, Status.STARTING, "starts")
        assert leader.check_fence() == 1
        take(engine, "b", seen=present(engine))

        def never(_connection: Connection) -> None:
            raise AssertionError("it must not come so far")

        before = [any_.job(job_id) for job_id in ("waits", "starts")]
        for write in (
            lambda: leader.submit("new", make_spec(), now()),
            lambda: leader.ask("waits", Desired.CANCEL),
            lambda: leader.note_wait("waits", "for a leader that thawed"),
            lambda: leader.begin_attempt(waits, FIRST_ATTEMPT, now()),
            lambda: leader.note_submitted("starts", starts.attempt, now()),
            lambda: leader.append_events("starts", 1, []),
            lambda: leader.write(never),
            leader.check_fence,
        ):
            with pytest.raises(LostLeadershipError, match="the leader: http://b"):
                write()
        assert [any_.job(job_id) for job_id in ("waits", "starts")] == before
        assert len(any_.jobs(limit=9)) == 2
        assert any_.attempt("starts", 1).submitted_at is None


def test_a_takeover_waits_for_what_is_being_written(store_url: str, engine: Engine) -> None:
    take(engine, "a", seen=None)
    seen, writes, may_commit = present(engine), threading.Event(), threading.Event()
    taken: list[int | None] = []

    def slowly(_connection: Connection) -> None:
        writes.set()
        assert may_commit.wait(10)

    with closing(Store(store_url, fence=lambda: 1)) as leader:
        writer = threading.Thread(target=leader.write, args=(slowly,))
        writer.start()
        assert writes.wait(10)
        taker = threading.Thread(target=lambda: taken.append(take(engine, "b", seen=seen)))
        taker.start()
        taker.join(0.2)
        assert taken == []
        may_commit.set()
        writer.join()
        taker.join()
    assert taken == [2]


def test_a_writer_waits_for_those_before_it_for_a_while(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's wait for rows alone."""
    monkeypatch.setattr("service.store.leases._TURN_S", 0.1)
    writes, may_commit = threading.Event(), threading.Event()

    def slowly(_connection: Connection) -> None:
        writes.set()
        assert may_commit.wait(10)

    with closing(Store(store_url)) as store, ThreadPoolExecutor(1) as pool:
        first = pool.submit(store.write, slowly)
        try:
            assert writes.wait(10)
            if store_url.startswith("sqlite"):
                with pytest.raises(NotWrittenError, match=r"no turn came in 0\.1 s"):
                    store.write(lambda _: None)
            else:
                store.write(lambda _: None)
        finally:
            may_commit.set()
        first.result()
        store.write(lambda _: None)
