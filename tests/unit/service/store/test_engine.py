import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from service.jobs.events import StatusChanged
from service.jobs.lifecycle import Decision
from service.store.engine import BUSY_TIMEOUT_MS, connect, json_without_nul, reading
from service.store.errors import ChangedMeanwhileError, why_no_answer
from service.store.store import Store
from tests.postgres import Postgres, running_postgres
from tests.unit.service.conftest import FIRST_ATTEMPT, job_in, make_spec, now, progress, wait_until
from tests.unit.service.databases import PostgresDatabases, migrated_database
from tests.unit.service.store.journeys import journeys
from trainer.contract.events import AttemptEvent, AttemptEventData, Evaluated
from trainer.contract.status import Desired, Status

NUM_EVENTS = 60


def evaluated(step: int) -> Evaluated:
    return Evaluated(step=step, epoch=0.1, num_samples=1, loss=1.0, top1=0.5, top5=0.9)


def event(number: int) -> AttemptEvent:
    data: AttemptEventData = evaluated(number) if number % 2 else progress(number)
    return AttemptEvent(number=number, at=now(), data=data)


def test_writers_of_one_job_leave_no_gap_and_wait_for_each_other(store: Store) -> None:
    job = job_in(store, Status.STARTING, "a")
    together = threading.Barrier(6)

    def report(_number: int) -> None:
        together.wait()
        through = 0
        while through < NUM_EVENTS:
            batch = [event(number) for number in range(through + 1, through + 6)]
            through = store.append_events("a", 1, batch).stored_through

    def ask(number: int) -> None:
        together.wait()
        for turn in range(20):
            store.ask("a", Desired.PAUSE if (turn + number) % 2 else Desired.RUN)

    def run(_number: int) -> None:
        together.wait()
        store.apply(job, Decision(status=Status.RUNNING), now())

    with ThreadPoolExecutor(6) as pool:
        doing = [
            pool.submit(what, number)
            for number, what in enumerate((report, report, report, ask, ask, run))
        ]
        for one in doing:
            one.result()
    stored = store.events("a", limit=1000)
    assert [one.number for one in stored] == list(range(1, len(stored) + 1))
    steps = [one.data.step for one in stored if isinstance(one.data, Evaluated)]
    through = store.attempt("a", 1).events_through
    assert steps == list(range(1, through + 1, 2))
    changes = [one.data.after for one in stored if isinstance(one.data, StatusChanged)]
    assert changes == [Status.QUEUED, Status.STARTING, Status.RUNNING]


def test_of_two_that_begin_an_attempt_one_does(store: Store) -> None:
    job = store.submit("a", make_spec(), now())
    together = threading.Barrier(2)

    def begin(_number: int) -> bool:
        together.wait()
        try:
            store.begin_attempt(job, FIRST_ATTEMPT, now())
        except ChangedMeanwhileError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(begin, range(2))) == [False, True]


def test_what_is_read_at_once_is_of_one_moment(store: Store, store_url: str) -> None:
    engine = connect(store_url)
    count = text("SELECT count(*) FROM jobs")
    with reading(engine).connect() as connection:
        assert connection.execute(count).scalar_one() == 0
        store.submit("a", make_spec(), now())
        assert connection.execute(count).scalar_one() == 0
    with reading(engine).connect() as connection:
        assert connection.execute(count).scalar_one() == 1
    engine.dispose()


def test_text_that_a_database_cannot_hold_does_not_keep_a_job_from_ending(store: Store) -> None:
    job = job_in(store, Status.RUNNING, "a")
    said = "cut \0 short, \\u0000 not"
    store.apply(job, Decision(status=Status.PAUSING, message=said), now())
    shown = (said, said.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    assert store.job("a").message in shown
    (*_, changed) = store.events("a", limit=10)
    assert isinstance(changed.data, StatusChanged)
    assert changed.data.message in shown


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_another_holds_does_not_answer_for_a_while(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 10)
    with closing(Store(store_url)) as store:
        store.submit("a", make_spec(), now())
        with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(OperationalError) as caught:
                store.ask("a", Desired.PAUSE)
            assert why_no_answer(caught.value) == "database is locked"
            # Readers need not wait for a writer.
            assert store.job("a").desired is Desired.RUN
            other.rollback()
        assert store.ask("a", Desired.PAUSE).desired is Desired.PAUSE


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_row_that_another_holds_does_not_answer_for_a_while(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BUSY_TIMEOUT_MS == 5_000
    # Who holds the row, and has stored it, may pause amid a transaction for more than .2 s.
    engine = connect(store_url)
    with closing(Store(store_url)) as patient:
        patient.submit("a", make_spec(), now())
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 100)
    with closing(Store(store_url)) as store:
        with engine.begin() as connection:
            connection.execute(text("SELECT * FROM jobs FOR UPDATE"))
            with pytest.raises(OperationalError) as caught:
                store.ask("a", Desired.PAUSE)
            assert why_no_answer(caught.value) == "canceling statement due to lock timeout"
            assert store.job("a").desired is Desired.RUN
        assert store.ask("a", Desired.PAUSE).desired is Desired.PAUSE
    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_more_at_once_than_there_are_connections_wait_a_while(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.engine.BUSY_TIMEOUT_MS", 100)
    monkeypatch.setattr("service.store.engine._POOL_SIZE", 1)
    engine = connect(store_url)
    with engine.connect(), pytest.raises(NoConnectionError) as caught:
        engine.connect()
    assert why_no_answer(caught.value) == "every connection to it is in use"
    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_read_of_one_statement_is_one_journey_and_one_more_where_it_was_idle(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long this takes.
    monkeypatch.setattr("service.store.engine._IDLE_S", 600)
    job_in(store, Status.RUNNING, "a")

    def made_by(ask: Callable[[], object]) -> int:
        with journeys(store) as made:
            ask()
        return len(made)

    assert made_by(lambda: store.job("a")) == 1
    assert made_by(lambda: store.jobs(limit=9)) == 1
    assert made_by(lambda: store.events("a", limit=9)) == 1
    monkeypatch.setattr("service.store.engine._IDLE_S", 0)
    # Of one that was asked for seldom: the driver prepares others, by a journey more.
    assert made_by(lambda: store.events("a", limit=9)) == 2


@pytest.fixture
def own_server(postgres: Postgres) -> Iterator[Postgres]:
    """One that may be killed; it writes through to the disk."""
    assert postgres
    with running_postgres(durable=True) as server:
        yield server


def _restarted(own_server: Postgres, store: Store, num_connections: int) -> None:
    with ExitStack() as held:
        for _ in range(num_connections):
            held.enter_context(store._engine.connect()).execute(text("SELECT 1"))
    own_server.stop("fast")
    own_server.start()


@pytest.mark.slow
def test_no_one_notices_that_a_server_was_restarted_whose_connections_were_idle(
    own_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = PostgresDatabases(own_server, migrated_database(own_server)).migrated()
    with closing(Store(url)) as store:
        store.submit("a", make_spec(), now())
        monkeypatch.setattr("service.store.engine._IDLE_S", 0)
        _restarted(own_server, store, 3)
        assert store.job("a").id == "a"
        assert store.ask("a", Desired.PAUSE).desired is Desired.PAUSE
        # Faster than any does: one is told to come again, and the others are not.
        monkeypatch.setattr("service.store.engine._IDLE_S", 600)
        _restarted(own_server, store, 3)
        with pytest.raises(OperationalError):
            store.job("a")
        for _ in range(4):
            assert store.job("a").desired is Desired.PAUSE


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_has_lost_nothing_it_accepted(
    own_server: Postgres,
) -> None:
    url = PostgresDatabases(own_server, migrated_database(own_server)).migrated()
    accepted: list[str] = []
    refused: list[str] = []
    done = threading.Event()
    with closing(Store(url)) as store:

        def submit(worker: int) -> None:
            number = 0
            while not done.is_set():
                number += 1
                try:
                    store.submit(f"job-{worker}-{number}", make_spec(), now())
                except OperationalError as error:
                    refused.append(why_no_answer(error))
                    done.wait(0.01)
                else:
                    accepted.append(f"job-{worker}-{number}")

        with ThreadPoolExecutor(4) as pool:
            doing = [pool.submit(submit, worker) for worker in range(4)]
            try:
                wait_until(lambda: len(accepted) > 20)
                own_server.stop("immediate")
                wait_until(lambda: len(refused) > 20)
                own_server.start()
                before = len(accepted)
                wait_until(lambda: len(accepted) > before + 20)
            finally:
                done.set()
            for one in doing:
                one.result()
        stored = {job.id for job in store.jobs(limit=100_000)}
        assert set(accepted) <= stored
        for job_id in accepted:
            assert len(store.events(job_id, limit=10)) == 1
    assert "it cannot be reached" in refused
    assert not any("127.0.0.1" in reason for reason in refused)


@given(said=st.text(st.sampled_from("\0\\u0a\N{REPLACEMENT CHARACTER}"), max_size=12))
def test_a_document_loses_its_nuls_alone(said: str) -> None:
    expected = said.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert json.loads(json_without_nul({"said": [said]})) == {"said": [expected]}


def test_no_error_shows_a_password() -> None:
    engine = connect("postgresql://someone:secret@127.0.0.1:1/store")
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    assert "secret" not in f"{engine!r} {engine.url!r} {caught.value} {caught.value!r}"
    assert why_no_answer(caught.value) == "it cannot be reached"
