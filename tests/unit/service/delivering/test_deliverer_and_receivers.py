"""Telling receivers on loopback that redirect, hang, answer without end or not in HTTP."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.store.store import Store
from tests.unit.service.conftest import job_in, make_spec, now, wait_until
from tests.unit.service.delivering.told_webhooks import NAMES, delivering, keep, look, once, types
from tests.unit.service.stub_server import Answer, Request, StubServer
from trainer.contract.status import Status

pytestmark = pytest.mark.usefixtures("soon")


@contextmanager
def raw_receiver(answer: Callable[[Any], None]) -> Iterator[str]:
    """Take connections, read a request, have it answered, and close."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received = b""
            while b"\r\n\r\n" not in received:
                if not (some := self.request.recv(65_536)):
                    return
                received += some
            try:
                answer(self.request)
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_redirect_is_not_followed(store: Store) -> None:
    with StubServer(lambda _: Answer(200)) as elsewhere:
        there = {"Location": elsewhere.url}
        with StubServer(lambda _: Answer(307, headers=there)) as receiver, delivering(store):
            keep(store, receiver.url)
            store.submit("a", make_spec(), now())
            wait_until(lambda: len(receiver.requests) > 1)
            wait_until(lambda: look(store).last_try)
        assert elsewhere.requests == []
    last = look(store).last_try
    assert last is not None
    assert last.detail == "answered 307: redirects are not followed; register where it leads"


@pytest.mark.parametrize("location", ["mailto:x", "http://xn--/", "//[", ""])
def test_a_redirect_to_what_is_no_url_is_one_too(store: Store, location: str) -> None:
    there = {"Location": location}
    with StubServer(lambda _: Answer(302, headers=there)) as receiver, delivering(store):
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert last.detail.startswith("answered 302: redirects are not followed")


def test_one_that_hangs_holds_up_neither_the_store_nor_other_webhooks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.delivering.sender.TIMEOUT_S", 0.3)
    release = threading.Event()

    def hang(_: Request) -> Answer:
        release.wait(10)
        return Answer(204)

    with StubServer(hang) as hanging, StubServer(lambda _: Answer(204)) as well:
        with delivering(store):
            keep(store, hanging.url, "hanging")
            keep(store, well.url, "well")
            for number in range(5):
                job_in(store, Status.SUCCEEDED, f"job{number}")
            wait_until(lambda: len(once(well.requests)) == 20)
            wait_until(lambda: look(store, "hanging").last_try)
        told = once(well.requests)
        assert [types(told, f"job{number}") for number in range(5)] == [NAMES] * 5
        release.set()
    last = look(store, "hanging").last_try
    assert last is not None
    assert last.detail == "there was no answer within 0.3 s"


def test_an_answer_without_end_is_not_read(store: Store) -> None:
    was_left = threading.Event()

    def answer_for_ever(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(bytes(65_536))
        except OSError:
            was_left.set()

    with raw_receiver(answer_for_ever) as url, delivering(store):
        keep(store, url)
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
        assert was_left.wait(10)
    assert (last.delivered, last.detail) == (True, "answered 200")


def test_headers_that_come_slowly_are_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.delivering.sender.TIMEOUT_S", 0.3)
    ended = threading.Event()

    def drip(connection: Any) -> None:
        """Send a byte now and then: no single read ever takes long."""
        while not ended.wait(0.05):
            connection.sendall(b"H")

    with raw_receiver(drip) as url:
        with delivering(store):
            keep(store, url)
            store.submit("a", make_spec(), now())
            last = wait_until(lambda: look(store).last_try)
        ended.set()
    assert last.detail.startswith("there was no answer within")


@pytest.mark.parametrize("garbage", [b"", b"SSH-2.0-banner\r\n\r\n", b"HTTP/1.1 2"])
def test_what_does_not_answer_in_http_is_not_quoted(store: Store, garbage: bytes) -> None:
    with raw_receiver(lambda connection: connection.sendall(garbage)) as url, delivering(store):
        keep(store, url)
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert not last.delivered
    assert last.detail == "it did not answer in HTTP"
