"""Telling webhooks over real HTTP: receivers on loopback that fail, hang, redirect and die."""

import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import DataError, OperationalError

from service.access.caller import EVERYONE, Role
from service.access.tokens import issue_token
from service.delivering.deliverer import MAX_OF_EACH, MAX_OF_OWNER, Deliverer
from service.delivering.resolving import ResolverBusyError
from service.metrics import registry
from service.steady_clock import SteadyClock
from service.store.leases import LostLeadershipError
from service.store.store import Store
from service.store.tables import deliveries
from service.store.tokens import create_token
from service.store.webhooks import create_webhook, find_webhook
from service.webhooks import patience
from service.webhooks.happenings import Happening
from service.webhooks.records import Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import job_in, make_spec, now, wait_until
from tests.unit.service.stub_server import Answer, Request, StubServer
from trainer.contract.status import Status

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
NAMES = ["job.queued", "job.starting", "job.running", "job.succeeded"]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again at once."""
    monkeypatch.setattr(patience, "FIRST_WAIT", timedelta(milliseconds=10))


def keep(store: Store, url: str, webhook_id: str = "hook", **changes: Any) -> Webhook:
    values: dict[str, Any] = {
        "id": webhook_id,
        "owner": None,
        "all_jobs": True,
        "url": url,
        "events": frozenset(Happening),
        "secret": new_secret(),
        "description": "",
        "created_at": now(),
    }
    webhook = Webhook(**values | changes)
    store.write(lambda connection: create_webhook(connection, webhook, EVERYONE, now()))
    return webhook


def counted(outcome: str) -> float:
    name = "alexnet_webhook_deliveries_total"
    value = registry.get_sample_value(name, {"outcome": outcome})
    # All are there from the beginning.
    assert value is not None
    return value


def look(store: Store, webhook_id: str = "hook") -> Webhook:
    return store.read(lambda connection: find_webhook(connection, webhook_id, EVERYONE))


@contextmanager
def delivering(
    store: Store,
    *,
    is_leader: Callable[[], bool] = lambda: True,
    allowed: Any = LOOPBACK,
    give_up_every_s: float = 60.0,
) -> Iterator[Deliverer]:
    deliverer = Deliverer(
        store,
        is_leader=is_leader,
        allowed=allowed,
        poll_s=0.02,
        give_up_every_s=give_up_every_s,
    )
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def types(requests: list[Request], job_id: str = "a") -> list[str]:
    bodies = [json.loads(request.body) for request in requests]
    return [body["type"] for body in bodies if body["data"]["job_id"] == job_id]


def once(requests: list[Request]) -> list[Request]:
    """Leave out what came again, as where a machine was slow to answer."""
    by_id: dict[str, Request] = {}
    for request in requests:
        by_id.setdefault(request.headers["webhook-id"], request)
    return list(by_id.values())


def test_messages_come_signed_and_in_the_order_of_the_job(store: Store) -> None:
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        webhook = keep(store, f"{receiver.url}/hook?a=b")
        job_in(store, Status.SUCCEEDED, "a")
        wait_until(lambda: len(receiver.requests) == 4)
        wait_until(lambda: (last := look(store).last_try) and last.event == "job.succeeded")
    assert types(receiver.requests) == NAMES
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 4
    for request in receiver.requests:
        headers = request.headers
        assert (request.method, request.path) == ("POST", "/hook?a=b")
        assert headers["content-type"] == "application/json"
        assert headers["host"] == receiver.url.removeprefix("http://")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
        key = base64.b64decode(webhook.secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert abs(int(headers["webhook-timestamp"]) - now().timestamp()) < 60


def test_what_fails_comes_again_under_its_id_before_anything_else_of_the_job(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([500, 429, 404, 200, 503])
    num_failed, num_delivered = counted("failed"), counted("delivered")
    with (
        caplog.at_level(logging.WARNING),
        StubServer(lambda _: Answer(next(failures, 200))) as receiver,
        delivering(store),
    ):
        webhook = keep(store, receiver.url)
        job_in(store, Status.SUCCEEDED, "a")
        wait_until(lambda: types(receiver.requests)[-1:] == ["job.succeeded"])
        wait_until(lambda: counted("delivered") == num_delivered + 4)
    assert counted("failed") == num_failed + 4
    assert types(receiver.requests) == [NAMES[0]] * 4 + [NAMES[1]] * 2 + NAMES[2:]
    assert len({request.headers["webhook-id"] for request in receiver.requests[:4]}) == 1
    assert "webhook hook: job.queued of job a: answered 500; it is tried again at" in caplog.text
    # Neither what it is signed with, nor its address, which may hold a secret of the receiver's.
    assert webhook.secret not in caplog.text
    assert webhook.url not in caplog.text


def test_what_cannot_be_delivered_is_given_up_and_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "GIVE_UP_AFTER", timedelta(milliseconds=100))
    num_given_up = counted("given_up")
    with StubServer(lambda _: Answer(500)) as receiver, delivering(store):
        keep(store, receiver.url)
        job_in(store, Status.SUCCEEDED, "a")
        wait_until(lambda: look(store).num_given_up == 4)
        wait_until(lambda: counted("given_up") == num_given_up + 4)
    assert sorted(set(types(receiver.requests)), key=NAMES.index) == NAMES
    last = look(store).last_try
    assert last is not None
    assert (last.event, last.delivered, last.detail) == ("job.succeeded", False, "answered 500")
    assert "job.succeeded of job a: answered 500; it is given up" in caplog.text


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


def test_the_webhooks_of_one_owner_leave_places_to_others(store: Store) -> None:
    for owner in ("eve", "ann"):
        token, _ = issue_token(
            owner=owner, role=Role.ADMIN, description="", expires_in=None, now=now()
        )
        store.write(partial(create_token, token=token, by=EVERYONE, now=now()))
    release = threading.Event()

    def hang(_: Request) -> Answer:
        release.wait(30)
        return Answer(204)

    with StubServer(hang) as hanging, StubServer(lambda _: Answer(204)) as well:
        for number in range(MAX_OF_OWNER // MAX_OF_EACH + 1):
            keep(store, hanging.url, f"eves{number}", owner="eve")
        for number in range(MAX_OF_EACH):
            store.submit(f"job{number}", make_spec(), now())
        with delivering(store):
            wait_until(lambda: len(hanging.requests) == MAX_OF_OWNER)
            keep(store, well.url, "anns", owner="ann")
            job_in(store, Status.SUCCEEDED, "a")
            wait_until(lambda: types(once(well.requests)) == NAMES)
            assert len(hanging.requests) == MAX_OF_OWNER
            release.set()


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


@contextmanager
def raw_receiver(answer: Callable[[Any], None]) -> Iterator[str]:
    """Take connections, read a request, have it answered, and close."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received = b""
            while b"\r\n\r\n" not in received:
                received += self.request.recv(65_536)
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


def test_what_is_too_old_is_given_up_though_its_turn_never_came(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.delivering.deliverer.GIVE_UP_AFTER", timedelta(0))
    monkeypatch.setattr("service.delivering.deliverer._PIECE", 1)
    # None is ever due.
    monkeypatch.setattr("service.delivering.deliverer.due_deliveries", lambda *_, **__: [])
    num_given_up = counted("given_up")
    with delivering(store, give_up_every_s=0.05):
        keep(store, "https://hooks.example.org/a")
        job_in(store, Status.SUCCEEDED, "a")
        wait_until(lambda: look(store).num_given_up == 4)
        wait_until(lambda: counted("given_up") == num_given_up + 4)
    assert "webhook hook: given up as too old: 1" in caplog.text


@pytest.mark.parametrize("status", [204, 500])
def test_what_is_gone_when_its_try_ends_is_not_counted(store: Store, status: int) -> None:
    outcomes = ("delivered", "failed", "given_up")

    def answer(_: Any) -> Answer:
        # As who gives up what is too old, or deletes the webhook, while it is under way.
        store.write(lambda connection: connection.execute(delete(deliveries)))
        return Answer(status)

    before = [counted(outcome) for outcome in outcomes]
    with StubServer(answer) as receiver:
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        with delivering(store) as deliverer:
            wait_until(lambda: receiver.requests and not deliverer._under_way)
    assert [counted(outcome) for outcome in outcomes] == before


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


def test_one_that_does_not_lead_sends_nothing(store: Store) -> None:
    leads = threading.Event()
    with StubServer(lambda _: Answer(204)) as receiver:
        keep(store, receiver.url)
        store.submit("a", make_spec(), now())
        asked = threading.Semaphore(0)

        def is_leader() -> bool:
            asked.release()
            return leads.is_set()

        with delivering(store, is_leader=is_leader):
            for _ in range(3):
                assert asked.acquire(timeout=10)
            assert receiver.requests == []
            leads.set()
            wait_until(lambda: receiver.requests)


def test_an_address_is_checked_again_at_every_delivery(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public when it was registered may stand for loopback now."""
    looked_up = []

    async def resolve(target: Any, _asker: str | None) -> Any:
        looked_up.append(target.host)
        return (ipaddress.ip_address("127.0.0.1"),)

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store, allowed=()):
        port = receiver.url.rpartition(":")[2]
        keep(store, f"https://rebound.example.org:{port}/hook")
        store.submit("a", make_spec(), now())
        wait_until(lambda: len(looked_up) > 1)
        last = wait_until(lambda: look(store).last_try)
        assert receiver.requests == []
    assert "rebound.example.org (127.0.0.1) is within" in last.detail


def test_what_was_checked_is_what_is_connected_to(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once a try; between check and connection nothing looks it up again."""
    looked_up = []

    async def resolve(target: Any, _asker: str | None) -> Any:
        looked_up.append(target.host)
        return (ipaddress.ip_address("127.0.0.1"),)

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
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


def test_a_token_is_valid_by_the_machines_clock_wherever_the_services_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteadyClock, "now", lambda _: now() + timedelta(hours=2))
    token, _ = issue_token(
        owner="ann", role=Role.ADMIN, description="", expires_in=timedelta(hours=1), now=now()
    )
    store.write(lambda connection: create_token(connection, token, EVERYONE, now()))
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        keep(store, receiver.url, owner="ann")
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
    assert last.delivered, last.detail


def test_an_owner_without_a_token_is_told_nothing(store: Store) -> None:
    with StubServer(lambda _: Answer(204)) as receiver, delivering(store):
        keep(store, receiver.url, owner="ann")
        store.submit("a", make_spec(), now())
        last = wait_until(lambda: look(store).last_try)
        assert receiver.requests == []
    assert last.detail == "its owner ann has no valid token of the role admin"
