"""Webhooks whose names lead elsewhere, nowhere, to several addresses, or are never looked up."""

import ipaddress
import socket
import threading
from typing import Any

import pytest

from service.delivering.resolving import ResolverBusyError
from service.store.store import Store
from tests.unit.service.conftest import make_spec, now, wait_until
from tests.unit.service.delivering.told_webhooks import delivering, keep, look
from tests.unit.service.stub_server import Answer, StubServer

pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names, as they are looked up: each stands for loopback."""
    names: list[str] = []

    async def resolve(target: Any, _asker: str | None) -> Any:
        names.append(target.host)
        return (ipaddress.ip_address("127.0.0.1"),)

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    return names


def test_an_address_is_checked_again_at_every_delivery(store: Store, looked_up: list[str]) -> None:
    """A name that was public when it was registered may stand for loopback now."""
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store, allowed=()):
        port = receiver.url.rpartition(":")[2]
        keep(store, f"https://rebound.example.org:{port}/hook")
        store.submit("a", make_spec(), now())
        wait_until(lambda: len(looked_up) > 1)
        last = wait_until(lambda: look(store).last_try)
        assert receiver.requests == []
    assert "rebound.example.org (127.0.0.1) is within" in last.detail


def test_what_was_checked_is_what_is_connected_to(store: Store, looked_up: list[str]) -> None:
    """The name is resolved once a try; between check and connection nothing looks it up again."""
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        port = receiver.url.rpartition(":")[2]
        # No resolver knows this name.
        keep(store, f"http://receiver.invalid:{port}/hook")
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert last.delivered, last.detail
    assert looked_up == ["receiver.invalid"]
    assert receiver.requests[0].headers["host"] == f"receiver.invalid:{port}"


def test_a_name_that_is_none_is_tried_again(store: Store) -> None:
    with delivering(store):
        keep(store, "https://receiver.invalid/hook")
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert "receiver.invalid cannot be resolved" in last.detail
    assert look(store).num_given_up == 0


def test_of_several_addresses_the_next_is_tried_where_one_refuses(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = tuple(map(ipaddress.ip_address, ("127.0.0.2", "127.0.0.1")))

    async def resolve(*_: object) -> Any:
        return addresses

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert last.delivered, last.detail


def test_a_look_up_that_must_wait_for_others_is_no_try(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ResolverBusyError, ResolverBusyError])

    async def resolve(*_: object) -> Any:
        if (busy := next(answers, None)) is not None:
            raise busy
        return (ipaddress.ip_address("127.0.0.1"),)

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert last.delivered
    assert "tried again" not in caplog.text


def test_it_stops_though_a_look_up_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, asked, release = socket.getaddrinfo, threading.Event(), threading.Event()

    def hang(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "hangs.example":
            return look_up(host, *arguments, **options)
        asked.set()
        release.wait(30)
        raise OSError

    monkeypatch.setattr("service.delivering.resolving.socket.getaddrinfo", hang)
    with delivering(store) as deliverer:
        keep(store, "https://hangs.example/hook")
        store.submit("a", make_spec(), now())
        assert asked.wait(10)
        deliverer.stop()
        assert not deliverer._thread.is_alive()
        release.set()
