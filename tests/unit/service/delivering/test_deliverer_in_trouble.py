"""The deliverer where it dies, the store is away or hangs, or its own code fails."""

import threading
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from service.store.leases import LostLeadershipError
from service.store.store import Store
from tests.unit.service.conftest import make_spec, now, wait_until
from tests.unit.service.delivering.told_webhooks import delivering, keep, look
from tests.unit.service.stub_server import Answer, StubServer

pytestmark = pytest.mark.usefixtures("soon")


def test_what_was_delivered_by_one_that_died_comes_again_under_the_same_id(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store.write

    def die(_: object) -> None:
        raise LostLeadershipError("another")

    with StubServer(lambda _: Answer(204)) as receiver:
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        monkeypatch.setattr(store, "write", die)
        with delivering(store):
            wait_until(lambda: receiver.requests)
        monkeypatch.setattr(store, "write", write)
        before = len(receiver.requests)
        with delivering(store):
            wait_until(lambda: look(store).last_try)
        again = receiver.requests[before:]
    assert len(again) == 1
    first = receiver.requests[0]
    assert (again[0].headers["webhook-id"], again[0].body) == (
        first.headers["webhook-id"],
        first.body,
    )


def test_while_the_store_is_away_nothing_is_sent_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = store.write, iter([True] * 5)

    def fail(change: Any) -> Any:
        if next(failures, False):
            raise OperationalError("away", None, Exception("away"))
        return write(change)

    with StubServer(lambda _: Answer(204)) as receiver:
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        monkeypatch.setattr(store, "write", fail)
        with delivering(store):
            wait_until(lambda: look(store).last_try)
        assert len(receiver.requests) == 1


def test_what_can_never_be_written_down_keeps_its_place_and_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise DataError("wrong", None, Exception("wrong"))

    with StubServer(lambda _: Answer(204)) as receiver:
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        monkeypatch.setattr(store, "write", fail)
        with delivering(store):
            wait_until(lambda: "cannot be written down" in caplog.text)
            # Several looks of the deliverer later.
            keep_watch(store, monkeypatch)
        assert len(receiver.requests) == 1


def keep_watch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until what is due was read three times more."""
    read, looks = store.read, threading.Semaphore(0)

    def counted(query: Any) -> Any:
        looks.release()
        return read(query)

    monkeypatch.setattr(store, "read", counted)
    for _ in range(3):
        assert looks.acquire(timeout=10)


def test_what_nobody_foresaw_is_a_try_that_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("service.delivering.deliverer.send", fail)
    with delivering(store):
        keep(store, "https://hooks.example.org/a")
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert not last.delivered
    assert last.detail == "it could not be sent; the log of the service says why"
    assert "unforeseen" in caplog.text


def test_it_stops_though_the_store_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.delivering.deliverer._STOP_S", 0.1)
    read, asked, release = store.read, threading.Event(), threading.Event()

    def hang(query: Any) -> Any:
        asked.set()
        release.wait(30)
        return read(query)

    monkeypatch.setattr(store, "read", hang)
    with delivering(store) as deliverer:
        assert asked.wait(10)
        deliverer.stop()
        assert not release.is_set()
        release.set()
        deliverer._thread.join()
