"""Telling webhooks over real HTTP: what is sent, when, how often, and to whom."""

import base64
import hashlib
import hmac
import logging
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete

from service.access.caller import EVERYONE, Role
from service.access.tokens import issue_token
from service.delivering.deliverer import MAX_OF_EACH, MAX_OF_OWNER
from service.steady_clock import SteadyClock
from service.store.store import Store
from service.store.tables import deliveries
from service.store.tokens import create_token
from service.webhooks import patience
from tests.unit.service.conftest import job_in, make_spec, now, wait_until
from tests.unit.service.delivering.told_webhooks import (
    NAMES,
    counted,
    delivering,
    keep,
    look,
    once,
    types,
)
from tests.unit.service.stub_server import Answer, Request, StubServer
from trainer.contract.status import Status

pytestmark = pytest.mark.usefixtures("soon")


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
