"""Who is let in, by which rule, over real HTTP."""

import socket
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from service.access.caller import EVERYONE, Role
from service.access.rate_limits import remember
from service.api.access import PUBLIC_PATHS
from service.api.app import create_app
from service.api.dependencies import IS_PUBLIC, NoRule
from service.control_plane import ControlPlane
from service.reconciling.starter import sha256_of_token
from service.settings import Settings
from service.steady_clock import SteadyClock
from service.store.attempts import live_tokens
from service.store.tokens import find_token, revoke_token
from tests.unit.service.conftest import (
    free_port,
    job_in,
    now,
    serving,
    wait_until,
)
from tests.unit.service.guarded import Guarded, add_token, bearer
from tests.unit.service.routes import routes_of, rules_of
from tests.waiting import ANSWERED_WITHIN_S
from trainer.contract.status import Status

UNIDENTIFIED = "urn:alexnet:problem:no-token"
FORBIDDEN = "urn:alexnet:problem:not-allowed"


# Every route has a rule


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
        assert (
            httpx.get(f"{url}/jobs", headers=bearer(token), timeout=ANSWERED_WITHIN_S).status_code
            == 200
        )
        assert httpx.get(f"{url}/jobs", timeout=ANSWERED_WITHIN_S).status_code == 401
        record = guarded.plane.store.read(lambda connection: find_token(connection, token.id))
        assert record is not None
        assert record.used_at is None
    standby.stop()


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
