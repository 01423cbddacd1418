"""/webhooks over HTTP, by who may what; with receivers on loopback."""

import base64
import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import service.api.webhooks
from service.access.caller import Role
from service.client.client import Client
from service.client.errors import ProblemError
from service.delivering.resolving import ResolverBusyError
from service.settings import Settings
from service.webhooks.happenings import Happening
from service.webhooks.records import MAX_PER_OWNER
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, add_token, guarding
from tests.unit.service.stub_server import Answer, StubServer

REFUSED = "urn:alexnet:problem:webhook-refused"


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    with guarding(settings, databases, webhook_networks=("127.0.0.0/8",)) as served:
        yield served


@pytest.fixture
def receiver() -> Iterator[StubServer]:
    with StubServer(lambda _: Answer(204)) as receiver:
        yield receiver


def create(client: httpx.Client, url: str, **fields: Any) -> dict[str, Any]:
    answer = client.post("/webhooks", json={"url": url} | fields)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(answer.json())


def test_a_webhook_is_made_shown_tested_and_deleted(guarded: Guarded, receiver: StubServer) -> None:
    token = add_token(guarded.plane, "eve", Role.SUBMITTER)
    with Client(guarded.url, token=str(token)) as client:
        made = client.create_webhook(
            receiver.url, events=[Happening.PAUSED, Happening.FAILED], description="pager"
        )
        assert made.secret.startswith("whsec_")
        assert made.events == ("job.paused", "job.failed")
        assert (made.owner, made.all_jobs, made.pending) == ("eve", False, 0)
        (listed,) = client.webhooks()
        assert listed.id == made.id
        assert listed.last_try is None

        tried = client.test_webhook(made.id)
        assert (tried.delivered, tried.event) == (True, "webhook.test")
        (request,) = receiver.requests
        assert json.loads(request.body)["type"] == "webhook.test"
        signed = ".".join(
            (
                request.headers["webhook-id"],
                request.headers["webhook-timestamp"],
                request.body.decode(),
            )
        )
        key = base64.b64decode(made.secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
        assert request.headers["webhook-signature"] == f"v1,{mac}"
        # What became of messages is what `list` tells, and not of tests.
        assert client.webhooks()[0].last_try is None

        client.delete_webhook(made.id)
        assert client.webhooks() == ()
        for gone in (client.delete_webhook, client.test_webhook):
            with pytest.raises(ProblemError, match=f"no webhook '{made.id}'"):
                gone(made.id)
            with pytest.raises(ProblemError, match="ids are letters and digits"):
                gone("../tokens")
    entries = guarded.admin.get("/audit", params={"target": made.id}).json()["entries"]
    assert [(one["actor"], one["action"]) for one in entries] == [
        ("eve", "webhook.delete"),
        ("eve", "webhook.test"),
        ("eve", "webhook.create"),
    ]


def test_a_test_says_why_nothing_came_of_it(guarded: Guarded) -> None:
    with StubServer(lambda _: Answer(500, b"a secret of the network")) as receiver:
        made = create(guarded.ann, receiver.url)
        answer = guarded.ann.post(f"/webhooks/{made['id']}/test")
        assert answer.status_code == 200
        assert (answer.json()["delivered"], answer.json()["detail"]) == (False, "answered 500")
        assert "secret of the network" not in answer.text
    answer = guarded.ann.post(f"/webhooks/{made['id']}/test").json()
    assert not answer["delivered"]
    assert answer["detail"].startswith("no connection")
    guarded.ann.delete(f"/webhooks/{made['id']}")


def test_one_whose_owner_may_be_told_nothing_is_not_tested(
    guarded: Guarded, receiver: StubServer
) -> None:
    token = add_token(guarded.plane, "mallory", Role.SUBMITTER)
    with Client(guarded.url, token=str(token)) as client:
        made = client.create_webhook(receiver.url)
    guarded.admin.delete(f"/tokens/{token.id}").raise_for_status()
    tried = guarded.admin.post(f"/webhooks/{made.id}/test").json()
    assert not tried["delivered"]
    assert tried["detail"] == "its owner mallory has no valid token of the role submitter"
    assert receiver.requests == []
    assert guarded.admin.delete(f"/webhooks/{made.id}").status_code == 204


def test_where_others_look_ups_hang_it_is_not_the_urls_fault(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://93.184.216.34/hook"
    made = create(guarded.ann, url)

    async def busy(*_: object) -> Any:
        raise ResolverBusyError

    with monkeypatch.context() as patch:
        patch.setattr("service.delivering.sender.resolve", busy)
        tested = guarded.ann.post(f"/webhooks/{made['id']}/test")
        posted = guarded.ann.post("/webhooks", json={"url": url})
    monkeypatch.setattr("service.api.webhooks._waits", threading.BoundedSemaphore(1))
    with service.api.webhooks._a_place_to_wait():
        waiting = guarded.ann.post("/webhooks", json={"url": url})
    for answer in (tested, posted, waiting):
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert "try again" in answer.json()["detail"]
    assert guarded.ann.delete(f"/webhooks/{made['id']}").status_code == 204


def test_others_webhooks_are_not_there_but_for_admins(
    guarded: Guarded, receiver: StubServer
) -> None:
    made = create(guarded.ann, receiver.url)
    path = f"/webhooks/{made['id']}"
    assert guarded.bob.get("/webhooks").json() == {"webhooks": []}
    assert guarded.bob.post(f"{path}/test").status_code == 404
    assert guarded.bob.delete(path).status_code == 404
    assert guarded.bob.delete(path).json() == guarded.bob.delete("/webhooks/never").json() | {
        "detail": guarded.bob.delete(path).json()["detail"]
    }
    assert receiver.requests == []
    assert made["id"] in guarded.admin.get("/webhooks").text
    assert guarded.admin.post(f"{path}/test").json()["delivered"]
    assert guarded.admin.delete(path).status_code == 204
    # Viewers have no jobs of their own.
    assert guarded.vic.get("/webhooks").status_code == 403
    assert guarded.vic.post("/webhooks", json={"url": receiver.url}).status_code == 403


def test_every_job_is_for_admins(guarded: Guarded, receiver: StubServer) -> None:
    refused = guarded.ann.post("/webhooks", json={"url": receiver.url, "all_jobs": True})
    assert refused.status_code == 403
    made = create(guarded.admin, receiver.url, all_jobs=True)
    assert made["all_jobs"]
    assert not create(guarded.admin, receiver.url)["all_jobs"]


def test_where_no_tokens_are_asked_for_it_is_every_job(http: httpx.Client) -> None:
    # Port 1 of an address that is set aside for documentation would be public by its name alone.
    refused = http.post("/webhooks", json={"url": "https://192.0.2.1/hook"})
    assert refused.status_code == 422
    made = create(http, "https://93.184.216.34/hook")
    assert (made["owner"], made["all_jobs"]) == (None, True)
    assert http.delete(f"/webhooks/{made['id']}").status_code == 204


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://10.0.0.1/hook", "ALEXNET_WEBHOOK_NETWORKS"),
        ("https://169.254.169.254/latest/meta-data", "ALEXNET_WEBHOOK_NETWORKS"),
        ("https://[::1]/hook", "ALEXNET_WEBHOOK_NETWORKS"),
        ("https://0x0a000001/hook", "10.0.0.1"),
        ("http://93.184.216.34/hook", "use https"),
        ("https://receiver.invalid/hook", "cannot be resolved"),
        ("https://me:secret@example.org/hook", "leave them out"),
        ("gopher://example.org", "https://HOST/PATH"),
    ],
)
def test_a_url_that_nothing_is_sent_to_is_refused_by_its_field(
    guarded: Guarded, url: str, why: str
) -> None:
    answer = guarded.ann.post("/webhooks", json={"url": url})
    assert answer.status_code == 422
    assert answer.json()["type"] == REFUSED
    ((error),) = answer.json()["errors"]
    assert error["field"] == "url"
    assert why in error["message"]
    assert url not in guarded.ann.get("/webhooks").text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({"events": []}, "events"),
        ({"events": ["job.exploded"]}, "events.0"),
        ({"secret": "mine"}, "secret"),
        ({"description": "a\nb"}, "description"),
    ],
)
def test_a_request_that_is_not_valid_is_refused(
    guarded: Guarded, wrong: dict[str, Any], field: str
) -> None:
    answer = guarded.ann.post("/webhooks", json={"url": "https://93.184.216.34"} | wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_an_owner_has_so_many_and_no_more(guarded: Guarded) -> None:
    for _ in range(MAX_PER_OWNER):
        made = create(guarded.bob, "https://93.184.216.34/hook")
    answer = guarded.bob.post("/webhooks", json={"url": "https://93.184.216.34/hook"})
    assert (answer.status_code, answer.json()["type"]) == (422, REFUSED)
    assert guarded.bob.delete(f"/webhooks/{made['id']}").status_code == 204
    create(guarded.bob, "https://93.184.216.34/hook")


def test_a_secret_comes_out_nowhere_again(
    guarded: Guarded, receiver: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = create(guarded.admin, f"{receiver.url}/services/key-of-the-receiver", all_jobs=True)
        guarded.admin.post(f"/webhooks/{made['id']}/test")
        told = guarded.admin.get("/webhooks").text + guarded.admin.get("/audit").text
    assert made["secret"] not in told
    assert "key-of-the-receiver" not in guarded.admin.get("/audit").text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("service")]
    assert not [line for line in ours if made["secret"] in line or "key-of" in line]
