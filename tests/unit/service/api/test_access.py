"""Tokens, roles and private jobs, over real HTTP."""

import logging
import socket
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import select
from starlette.routing import BaseRoute

from service.access.caller import EVERYONE, Role
from service.access.rate_limits import remember
from service.api.access import PUBLIC_PATHS
from service.api.app import create_app
from service.api.dependencies import IS_PUBLIC, NoRule, RoleRule
from service.control_plane import ControlPlane
from service.reconciling.starter import sha256_of_token
from service.settings import Settings
from service.steady_clock import SteadyClock
from service.store.attempts import live_tokens
from service.store.tables import metadata
from service.store.tokens import find_token, revoke_token
from tests.unit.service.conftest import (
    FIRST_ATTEMPT,
    free_port,
    job_in,
    now,
    progress,
    report,
    serving,
    wait_until,
)
from tests.unit.service.databases import Databases, sqlite_file
from tests.unit.service.guarded import Guarded, add_token, bearer, guarding
from trainer.contract.status import Status

UNIDENTIFIED = "urn:alexnet:problem:no-token"
FORBIDDEN = "urn:alexnet:problem:not-allowed"


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    with guarding(settings, databases) as served:
        yield served


def submit(client: httpx.Client, body: dict[str, Any], **more: Any) -> str:
    answer = client.post("/jobs", json=body | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def stored_text(plane: ControlPlane) -> str:
    """Return everything that is in the store, and in its files where it has some."""
    rows = plane.store.read(
        lambda connection: [
            repr(row)
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
        ]
    )
    path = plane.settings.store_path
    files = [] if path is None else path.parent.glob(f"{path.name}*")
    return "\n".join([*rows, *(file.read_bytes().decode("latin-1") for file in files)])


# Every route has a rule


def routes_of(plane: ControlPlane) -> list[APIRoute]:
    return routes_below(create_app(plane))


def routes_below(app: FastAPI) -> list[APIRoute]:
    found: list[BaseRoute] = list(app.routes)
    routes = []
    while found:
        route = found.pop()
        if isinstance(route, APIRoute):
            routes.append(route)
        else:
            found.extend(getattr(getattr(route, "router", None), "routes", ()))
            found.extend(getattr(getattr(route, "original_router", None), "routes", ()))
    return routes


def rules_of(dependant: Dependant) -> set[RoleRule | NoRule]:
    below = {rule for one in dependant.dependencies for rule in rules_of(one)}
    call = dependant.call
    return below | ({call} if isinstance(call, RoleRule | NoRule) else set())


def test_every_route_has_a_rule_who_may_call_it(plane: ControlPlane) -> None:
    routes = routes_of(plane)
    described = create_app(plane).openapi()["paths"]
    assert {route.path_format for route in routes} >= described.keys()
    for route in routes:
        rules = rules_of(route.dependant)
        assert rules, f"{route.methods} {route.path} has no access rule: see api/dependencies.py"
        public = {rule for rule in rules if isinstance(rule, NoRule)}
        assert not public or public == rules
        # The middleware lets these through unasked.
        assert (route.path in PUBLIC_PATHS) <= bool(public)


def test_only_watching_and_reporting_are_exempt(plane: ControlPlane) -> None:
    exempt = {
        route.path
        for route in routes_of(plane)
        if any(isinstance(rule, NoRule) for rule in rules_of(route.dependant))
    }
    reports = "/jobs/{job_id}/attempts/{attempt}/events"
    assert exempt == {"/", "/healthz", "/readyz", reports}


def test_whatever_changes_needs_more_than_a_viewer(guarded: Guarded) -> None:
    job_in(guarded.plane.store, Status.QUEUED, "foreign")
    names = {"job_id": "foreign", "token_id": "a", "owner": "ann"}
    asked = 0
    for route in routes_of(guarded.plane):
        rules = rules_of(route.dependant)
        for method in (route.methods or set()) - {"GET", "HEAD"}:
            if any(isinstance(rule, NoRule) for rule in rules):
                continue
            path = route.path
            for name in route.param_convertors:
                path = path.replace(f"{{{name}}}", names.get(name, "1"))
            answer = guarded.vic.request(method, path, json={})
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["type"] == FORBIDDEN
            asked += 1
    assert asked >= 8
    assert guarded.plane.store.job("foreign").desired == "run"


# Who is let in


@pytest.mark.parametrize("path", ["/jobs", "/jobs/any", "/metrics", "/usage", "/tokens", "/drain"])
def test_without_a_token_nothing_is_told_and_how_to_send_one(guarded: Guarded, path: str) -> None:
    for headers in ({}, bearer("alexnet_000000000000_" + "a" * 43), bearer("guess")):
        answer = guarded.nobody.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["type"] == UNIDENTIFIED
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "ALEXNET_TOKEN" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json"])
def test_some_pages_need_no_token(guarded: Guarded, path: str) -> None:
    assert guarded.nobody.get(path).status_code == 200
    assert guarded.nobody.get("/readyz").json()["role"] == "leader"


def test_nothing_that_needs_a_token_is_read_of_whoever_sends_none(guarded: Guarded) -> None:
    rules = {
        (method.lower(), route.path_format): rules_of(route.dependant)
        for route in routes_of(guarded.plane)
        for method in route.methods or ()
    }
    paths = guarded.nobody.get("/openapi.json").json()["paths"]
    headers = {"Content-Type": "application/json"}
    for path, operations in paths.items():
        for method in operations:
            is_public = IS_PUBLIC.dependency in rules[method, path]
            asked = path.replace("{attempt}", "1")
            answer = guarded.nobody.request(method, asked, content=b"{", headers=headers)
            assert (answer.status_code != 401) is is_public, (method, path, answer.text)
            assert is_public or answer.json()["type"] == UNIDENTIFIED
    # Nor is it told what there is.
    assert guarded.nobody.get("/nothing").status_code == 401


@pytest.mark.parametrize(
    ("path", "token", "refused"),
    [
        ("/jobs", None, 401),
        ("/jobs", "guess", 401),
        ("/jobs/waits/attempts/1/events", None, 401),
        ("/jobs/waits/attempts/1/events", "guess", 403),
        ("/jobs/waits/attempts/2/events", "its own", 403),
        ("/jobs/waits/attempts/one/events", "its own", 403),
    ],
)
def test_whoever_is_not_let_in_is_answered_before_a_body_has_come(
    guarded: Guarded, path: str, token: str | None, refused: int
) -> None:
    digest = sha256_of_token("its own")
    if guarded.plane.store.read(lambda connection: not live_tokens(connection)):
        job_in(guarded.plane.store, Status.RUNNING, "waits", token_sha256=digest)
    head = [f"POST {path} HTTP/1.1", f"Host: {httpx.URL(guarded.url).netloc.decode()}"]
    head += ["Content-Type: application/json", "Content-Length: 900000"]
    if token is not None:
        head.append(f"Authorization: Bearer {token}")
    host, port = httpx.URL(guarded.url).host, httpx.URL(guarded.url).port
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall("\r\n".join([*head, "", "{"]).encode())
        assert connection.recv(64).startswith(f"HTTP/1.1 {refused} ".encode())


def test_attempts_report_with_tokens_of_their_own(guarded: Guarded) -> None:
    answer = guarded.nobody.post("/jobs/a/attempts/1/events", json={"events": []})
    assert answer.status_code == 401
    # A token of the service is none of an attempt.
    answer = guarded.admin.post("/jobs/a/attempts/1/events", json={"events": []})
    assert answer.status_code == 403


def test_a_revoked_or_expired_token_is_none_at_once(guarded: Guarded) -> None:
    revoked = add_token(guarded.plane, "ann", Role.ADMIN)
    assert guarded.nobody.get("/jobs", headers=bearer(revoked)).status_code == 200
    guarded.plane.store.write(
        lambda connection: revoke_token(connection, revoked.id, EVERYONE, now())
    )
    expired = add_token(guarded.plane, "ann", Role.ADMIN, expires_in=timedelta(0))
    for token in (revoked, expired):
        assert guarded.nobody.get("/jobs", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("ahead", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_token_expires_by_the_machines_clock_wherever_the_services_stands(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    monkeypatch.setattr(SteadyClock, "now", lambda _: now() + ahead)
    ends = {
        expires_in: guarded.nobody.get(
            "/jobs",
            headers=bearer(add_token(guarded.plane, "ann", Role.ADMIN, expires_in=expires_in)),
        ).status_code
        for expires_in in (timedelta(hours=-1), timedelta(hours=1))
    }
    assert list(ends.values()) == [401, 200]
    made = guarded.admin.post(
        "/tokens", json={"owner": "eve", "role": "viewer", "expires_in_days": 1}
    ).json()
    left = datetime.fromisoformat(made["expires_at"]) - now()
    assert timedelta(hours=23) < left <= timedelta(days=1)


def test_the_use_of_a_token_is_written_down_not_oftener_than_once_a_minute(
    guarded: Guarded,
) -> None:
    token = add_token(guarded.plane, "ann", Role.VIEWER)

    def used() -> Any:
        record = guarded.plane.store.read(lambda connection: find_token(connection, token.id))
        assert record is not None
        return record.used_at

    assert used() is None
    assert guarded.nobody.get("/jobs", headers=bearer(token)).status_code == 200
    first = wait_until(used)
    for _ in range(3):
        guarded.nobody.get("/jobs", headers=bearer(token))
    assert used() == first


def test_a_standby_lets_in_by_the_same_tokens_and_writes_nothing_down(
    guarded: Guarded, settings: Settings
) -> None:
    store_url = guarded.plane.settings.store_url
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    changes = {"store_url": store_url, "port": free_port()}
    standby = ControlPlane(settings.model_copy(update=changes), token=None)
    standby.try_to_lead()
    assert not standby.is_leader
    with serving(standby) as url:
        assert httpx.get(f"{url}/jobs", headers=bearer(token)).status_code == 200
        assert httpx.get(f"{url}/jobs").status_code == 401
        record = guarded.plane.store.read(lambda connection: find_token(connection, token.id))
        assert record is not None
        assert record.used_at is None
    standby.stop()


# Whose jobs


def test_a_private_job_is_told_of_to_its_owner_and_admins_alone(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body, private=True)
    gets = [
        f"/jobs/{job_id}",
        f"/jobs/{job_id}/events",
        f"/jobs/{job_id}/checkpoints",
        f"/jobs/{job_id}/report",
    ]
    posts = [f"/jobs/{job_id}/{wish}" for wish in ("cancel", "pause", "resume")]
    for other in (guarded.bob, guarded.vic):
        for answer in (
            *(other.get(path, headers={"Accept": "application/json"}) for path in gets),
            *(other.post(path) for path in posts),
            other.patch(f"/jobs/{job_id}", json={"priority": 1}),
            other.delete(f"/jobs/{job_id}"),
        ):
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:alexnet:problem:no-such-job"
            # As of one that there never was.
            assert answer.json() == other.get("/jobs/never").json() | {
                "detail": answer.json()["detail"]
            }
        assert job_id not in [job["id"] for job in other.get("/jobs").json()["jobs"]]
    for one in (guarded.ann, guarded.admin):
        job = one.get(f"/jobs/{job_id}").json()
        assert (job["owner"], job["private"]) == ("ann", True)
        assert job_id in [job["id"] for job in one.get("/jobs").json()["jobs"]]


def test_pages_of_a_list_are_full_although_jobs_are_hidden(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    shown = [submit(guarded.ann, request_body, private=n % 2 == 0) for n in range(6)][1::2]
    page = guarded.bob.get("/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in page["jobs"]] == shown[::-1]
    mine = guarded.ann.get("/jobs", params={"limit": 6}).json()["jobs"]
    assert len(mine) == 6


@pytest.mark.parametrize("private", ["yes", 1, None])
def test_private_is_true_or_false(
    guarded: Guarded, request_body: dict[str, Any], private: object
) -> None:
    answer = guarded.ann.post("/jobs", json=request_body | {"private": private})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["private"]


def test_others_jobs_may_be_looked_at_and_not_changed(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body)
    assert guarded.plane.store.job(job_id).owner == "ann"
    assert guarded.bob.get(f"/jobs/{job_id}").status_code == 200
    for wish in ("cancel", "pause", "resume"):
        answer = guarded.bob.post(f"/jobs/{job_id}/{wish}")
        assert answer.status_code == 403
        assert f"job {job_id} is ann's" in answer.json()["detail"]
    assert guarded.bob.patch(f"/jobs/{job_id}", json={"priority": 1}).status_code == 403
    assert guarded.bob.delete(f"/jobs/{job_id}").status_code == 403
    assert guarded.plane.store.job(job_id).desired == "run"
    assert guarded.plane.store.job(job_id).spec.priority == 0
    assert guarded.ann.patch(f"/jobs/{job_id}", json={"priority": 1}).status_code == 200
    assert guarded.admin.patch(f"/jobs/{job_id}", json={"priority": 2}).status_code == 200
    assert guarded.ann.post(f"/jobs/{job_id}/pause").status_code == 202
    assert guarded.admin.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_metrics_tell_of_hidden_jobs_to_nobody_else(
    guarded: Guarded, request_body: dict[str, Any]
) -> None:
    job_id = submit(guarded.ann, request_body, private=True)
    store = guarded.plane.store
    store.begin_attempt(store.job(job_id), FIRST_ATTEMPT, now())
    report(store, job_id, progress(3))
    assert job_id in guarded.ann.get("/metrics").text
    assert job_id in guarded.admin.get("/metrics").text
    assert job_id not in guarded.bob.get("/metrics").text


# Credentials


def test_a_token_s_use_is_remembered_of_so_many_alone(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.rate_limits.MAX_SENDERS", 3)
    kept: list[int] = []

    def note(entries: OrderedDict[str, Any], key: str, value: Any) -> None:
        remember(entries, key, value)
        kept.append(len(entries))

    monkeypatch.setattr("service.api.access.remember", note)
    for _ in range(6):
        token = add_token(guarded.plane, "ann", Role.VIEWER)
        assert guarded.nobody.get("/jobs", headers=bearer(token)).status_code == 200
    wait_until(lambda: len(kept) == 6)
    assert max(kept[-3:]) == 3


@pytest.mark.parametrize(
    "location",
    [
        "s3://AKIAEXAMPLE:hush-hush@bucket/set",
        "s3://bucket/set?X-Amz-Signature=hush-hush",
        "az://container/set?sig=hush-hush",
        "gs://bucket/set#hush-hush",
        "https://user:hush-hush@host/set",
    ],
)
@pytest.mark.parametrize("field", ["train", "validation"])
def test_credentials_in_a_location_are_refused_and_come_out_nowhere(
    guarded: Guarded,
    request_body: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    field: str,
    location: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        body = request_body | {"data": request_body["data"] | {field: location}}
        answer = guarded.ann.post("/jobs", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [f"data.{field}"]
    assert "hush" not in answer.text
    assert "hush" not in "\n".join(
        record.getMessage() for record in caplog.records if record.name != "httpcore.http11"
    )
    store = sqlite_file(guarded.plane.settings.store_url)
    for file in store.parent.glob(f"{store.name}*"):
        assert b"hush" not in file.read_bytes()


def test_no_secret_of_a_token_is_stored_or_logged(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        created = guarded.admin.post(
            "/tokens", json={"owner": "eve", "role": "viewer", "expires_in_days": 1}
        ).json()
        assert guarded.nobody.get("/jobs", headers=bearer(created["token"])).status_code == 200
        listed = guarded.admin.get("/tokens").text
        audited = guarded.admin.get("/audit").text
    assert created["id"] in listed
    assert created["id"] in audited
    secret = created["token"].split("_", 2)[2]
    for text in (listed, audited, caplog.text):
        assert secret not in text
    store = sqlite_file(guarded.plane.settings.store_url)
    for file in store.parent.glob(f"{store.name}*"):
        assert secret.encode() not in file.read_bytes()
