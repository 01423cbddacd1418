"""What admins do over HTTP: tokens, quotas, usage, the audit log, drains, deletions."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.access.caller import Role
from service.client.client import Client
from service.client.errors import ProblemError
from service.jobs.lifecycle import Decision
from service.settings import Settings
from service.views.access import QuotaView
from tests.unit.service.conftest import job_in, now, wait_until
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, bearer, guarding
from trainer.contract.status import Status

OVER_QUOTA = "urn:alexnet:problem:over-quota"


@pytest.fixture
def client(guarded: Guarded) -> Iterator[Client]:
    token = guarded.admin.headers["Authorization"].removeprefix("Bearer ")
    with Client(guarded.url, token=token) as client:
        yield client


# Tokens


def test_a_token_that_is_made_lets_in_until_it_is_revoked(guarded: Guarded, client: Client) -> None:
    made = client.create_token("eve", Role.SUBMITTER, expires_in_days=7, description="nightly")
    assert (made.owner, made.role, made.description) == ("eve", "submitter", "nightly")
    assert made.expires_at is not None
    assert (made.expires_at - made.created_at).days == 7
    assert guarded.nobody.get("/jobs", headers=bearer(made.token)).status_code == 200
    assert made.id in [token.id for token in client.tokens()]
    assert not client.revoke_token(made.id).is_live
    assert guarded.nobody.get("/jobs", headers=bearer(made.token)).status_code == 401
    with pytest.raises(ProblemError, match="no token"):
        client.revoke_token("never")


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": "a b"},
        {"owner": ""},
        {"owner": "\x1b[31m"},
        {"role": "root"},
        {"expires_in_days": 0},
        {"description": "a\nb"},
        {"secret": "mine"},
    ],
)
def test_a_token_that_cannot_be_is_refused(guarded: Guarded, wrong: dict[str, Any]) -> None:
    answer = guarded.admin.post("/tokens", json={"owner": "eve", "role": "viewer"} | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == list(wrong)


def test_a_token_is_not_kept_by_caches(guarded: Guarded) -> None:
    answer = guarded.admin.post("/tokens", json={"owner": "eve", "role": "viewer"})
    assert answer.headers["Cache-Control"] == "no-store"


# Quotas


def test_what_an_owner_may_have_is_set_shown_and_held_to(
    guarded: Guarded, client: Client, request_body: dict[str, Any]
) -> None:
    assert client.quota("bob") == QuotaView()
    quota = QuotaView(max_queued_jobs=1, gpu_hours=5.5)
    assert client.set_quota("bob", quota) == quota
    assert client.quota("bob") == quota
    assert guarded.bob.post("/jobs", json=request_body).status_code == 201
    refused = guarded.bob.post("/jobs", json=request_body)
    assert refused.status_code == 429
    assert refused.json()["type"] == OVER_QUOTA
    assert "max_queued_jobs of bob" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    client.set_quota("bob", QuotaView(gpu_hours=0))
    refused = guarded.bob.post("/jobs", json=request_body)
    assert refused.status_code == 403
    assert refused.json()["type"] == OVER_QUOTA
    assert guarded.ann.post("/jobs", json=request_body).status_code == 201
    client.set_quota("bob", QuotaView())
    assert guarded.bob.post("/jobs", json=request_body).status_code == 201


def test_a_full_disk_quota_is_a_403_until_something_is_deleted(
    guarded: Guarded,
    client: Client,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.access.disk.MEASURED_FOR_S", 0.0)
    key = {"Idempotency-Key": "large"}
    job_id = guarded.ann.post("/jobs", json=request_body, headers=key).json()["id"]
    guarded.ann.post(f"/jobs/{job_id}/cancel")
    run = guarded.plane.settings.run_root / job_id
    run.mkdir()
    (run / "large").write_bytes(b"x" * 5000)
    client.set_quota("ann", QuotaView(disk_bytes=5000))
    refused = guarded.ann.post("/jobs", json=request_body)
    assert refused.status_code == 403
    assert "disk_bytes of ann: run directories hold 5,000" in refused.json()["detail"]
    assert guarded.ann.post(f"/jobs/{job_id}/clone", json={}).status_code == 403
    # What was accepted before is told again.
    again = guarded.ann.post("/jobs", json=request_body, headers=key)
    assert (again.status_code, again.json()["id"]) == (201, job_id)
    # A key whose request was refused is free.
    key = {"Idempotency-Key": "later"}
    assert guarded.ann.post("/jobs", json=request_body, headers=key).status_code == 403
    (mine,) = guarded.ann.get("/usage").json()["usage"]
    assert mine["disk_bytes"] == 5000
    (run / "large").unlink()
    assert guarded.ann.post("/jobs", json=request_body, headers=key).status_code == 201
    client.set_quota("ann", QuotaView())


@pytest.mark.parametrize("wrong", [{"gpu_hours": -1}, {"max_active_jobs": 1.5}, {"bytes": 1}])
def test_a_quota_that_cannot_be_is_refused(guarded: Guarded, wrong: dict[str, Any]) -> None:
    answer = guarded.admin.put("/quotas/ann", json=wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == list(wrong)


def test_usage_is_ones_own_but_for_admins(guarded: Guarded, request_body: dict[str, Any]) -> None:
    for client in (guarded.ann, guarded.bob):
        assert client.post("/jobs", json=request_body).status_code == 201
    assert [one["owner"] for one in guarded.ann.get("/usage").json()["usage"]] == ["ann"]
    everyone = guarded.admin.get("/usage").json()["usage"]
    assert {"ann", "bob"} <= {one["owner"] for one in everyone}
    (unused,) = guarded.vic.get("/usage").json()["usage"]
    assert (unused["owner"], unused["queued_jobs"], unused["gpu_hours"]) == ("vic", 0, 0)


def test_usage_where_there_are_no_tokens_is_of_nobody(http: httpx.Client) -> None:
    assert http.get("/usage").json() == {"usage": []}


# The audit log


def test_what_is_changed_is_told_with_who_and_from_where(
    guarded: Guarded, client: Client, request_body: dict[str, Any]
) -> None:
    job_id = guarded.ann.post("/jobs", json=request_body).json()["id"]
    guarded.admin.post(f"/jobs/{job_id}/cancel")
    entries = list(client.audit(target=job_id))
    assert [(one.actor, one.action) for one in entries] == [
        ("root", "job.cancel"),
        ("ann", "job.submit"),
    ]
    assert {one.address for one in entries} == {"127.0.0.1"}
    every = list(client.audit(limit=2))
    assert len(every) > 2
    assert [one.seq for one in every] == sorted((one.seq for one in every), reverse=True)


def test_the_address_is_a_proxys_word_only_where_it_is_trusted(
    settings: Settings, databases: Databases, request_body: dict[str, Any]
) -> None:
    forwarded = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    for proxies, address in (((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9")):
        with guarding(settings, databases, trusted_proxies=proxies) as served:
            answer = served.ann.post("/jobs", json=request_body, headers=forwarded)
            assert answer.status_code == 201
            newest = served.admin.get("/audit", params={"limit": 1}).json()["entries"][0]
            assert newest["address"] == address


# Drains


def test_a_drain_is_told_and_jobs_queue_meanwhile(
    guarded: Guarded, client: Client, request_body: dict[str, Any]
) -> None:
    assert not client.drain_state().draining
    assert not guarded.nobody.get("/readyz").json()["draining"]
    job_in(guarded.plane.store, Status.RUNNING, "atwork")
    try:
        state = client.drain(pause=True)
        assert state.draining
        assert state.pause
        assert state.active_jobs == 1
        wait_until(lambda: guarded.nobody.get("/readyz").json()["draining"])
        assert guarded.ann.get("/drain").json()["draining"]
        assert guarded.ann.post("/jobs", json=request_body).status_code == 201
    finally:
        assert not client.undrain().draining
    wait_until(lambda: not guarded.nobody.get("/readyz").json()["draining"])


# Deletions


def test_a_job_that_has_ended_is_deleted_by_its_owner(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = guarded.ann.post("/jobs", json=request_body).json()["id"]
    refused = guarded.ann.delete(f"/jobs/{job_id}")
    assert refused.status_code == 409
    assert "cancel it" in refused.json()["detail"]
    store = guarded.plane.store
    guarded.ann.post(f"/jobs/{job_id}/cancel")
    job = store.job(job_id)
    store.apply(job, Decision(status=Status.CANCELLED), now())
    run = guarded.plane.settings.run_root / job_id
    run.mkdir(exist_ok=True)
    assert guarded.bob.delete(f"/jobs/{job_id}").status_code == 403
    answer = guarded.ann.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not run.exists()
    for again in (guarded.ann.delete(f"/jobs/{job_id}"), guarded.ann.get(f"/jobs/{job_id}")):
        assert again.status_code == 404


def test_a_run_root_that_is_away_is_a_503(
    guarded: Guarded,
) -> None:
    root = guarded.plane.settings.run_root
    job_in(guarded.plane.store, Status.SUCCEEDED, "ended")
    away = root.with_name("away")
    root.rename(away)
    try:
        answer = guarded.admin.delete("/jobs/ended")
    finally:
        away.rename(root)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert guarded.admin.delete("/jobs/ended").status_code == 204


# Where there are no tokens


def test_the_first_token_ends_the_time_without(settings: Settings, databases: Databases) -> None:
    with guarding(settings, databases, with_tokens=False) as served:
        assert served.nobody.get("/jobs").status_code == 200
        # What another service wants is of no interest.
        assert served.nobody.get("/jobs", headers=bearer("of another")).status_code == 200
        passed_on = served.nobody.get("/jobs", headers={"X-Forwarded-For": "203.0.113.9"})
        assert passed_on.status_code == 401
        lured = served.nobody.post("/drain", headers={"Origin": "https://evil.example"})
        assert lured.status_code == 403
        assert not served.nobody.get("/drain").json()["draining"]
        made = served.nobody.post("/tokens", json={"owner": "root", "role": "admin"}).json()
        assert served.nobody.get("/jobs").status_code == 401
        admin = bearer(made["token"])
        assert served.nobody.delete(f"/tokens/{made['id']}", headers=admin).status_code == 200
        assert served.nobody.get("/jobs").status_code == 401


@pytest.mark.parametrize("name", ["%00", "%ff", "%ed%a0%80", "'--", "a%2Fb", "💾", "x" * 64])
def test_names_that_nothing_has_are_not_found_or_refused(guarded: Guarded, name: str) -> None:
    for method, path in (
        ("GET", f"/audit?target={name}"),
        ("DELETE", f"/tokens/{name}"),
        ("DELETE", f"/jobs/{name}"),
        ("GET", f"/jobs/{name}"),
        ("GET", f"/quotas/{name}"),
    ):
        answer = guarded.admin.request(method, path)
        assert answer.status_code in {200, 404, 422}, (path, answer.text)


def test_headers_without_end_are_refused(guarded: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", guarded.plane.settings.port)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        sent = 0
        try:
            while sent < 10_000_000:
                sent += connection.send(b"X-Header: " + b"x" * 1000 + b"\r\n")
        except OSError:
            pass
        assert sent < 10_000_000
    assert guarded.nobody.get("/healthz").status_code == 200
