"""Whoever has no token, a wrong one, or comes by a page of another site.

Ray's own ports are looked at in tests/acceptance/compose/test_compose.py and
tests/unit/deploy/test_compose_file.py.
"""

import http.client
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults.attacks.targets import ATTACK, Target
from tests.faults.trials import Trial, Trials
from tests.unit.service.guarded import bearer

NO_TOKEN = "no token, a wrong token"
FOREIGN_HOST = "a foreign Host header"
PUBLIC = {"/healthz", "/readyz"}
NAMES = {"job_id": "queued", "attempt": "1", "step": "1", "owner": "ann", "path": "report.json"}
UNKNOWN = "0123456789ab"
WRONG = {
    "none": {},
    "no token of this service": bearer("guess"),
    "one that is made up": bearer("alexnet_0123456789ab_" + "a" * 43),
    "another scheme": {"Authorization": "Basic YWRtaW46YWRtaW4="},
}
FOREIGN = ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "a b")


def operations(target: Target) -> Iterator[tuple[str, str]]:
    """Yield method and path of all that is described and not public, for a job that there is."""
    document: dict[str, Any] = target.ask("GET", "/openapi.json").json()
    for template, described in document["paths"].items():
        path = re.sub(r"\{(\w+)\}", lambda name: NAMES.get(name[1], UNKNOWN), template)
        if path not in PUBLIC:
            yield from ((method.upper(), path) for method in described)


def ask_without(trial: Trial, target: Target, method: str, path: str) -> None:
    """Ask with everything but a valid token."""
    before = target.ask("GET", "/jobs/queued").json()
    wrong = WRONG | {name: bearer(target.tokens[name]) for name in ("revoked", "expired")}
    # An attempt's token is not one of the service's: there it is a wrong one, and 403.
    refused = {401, 403} if path.endswith("/attempts/1/events") else {401}
    for what, headers in wrong.items():
        answer = target.ask(method, path, token=None, headers=headers, json={"events": []})
        told = answer.status_code in refused and "id" not in answer.json()
        trial.must(told, "A", f"{method} {path}, {what}: {answer.status_code} {answer.text[:200]}")
    trial.must(target.ask("GET", "/jobs/queued").json() == before, "A", f"{method} {path} acted")


def test_without_a_valid_token_every_route_is_refused(faults: Trials, target: Target) -> None:
    asked = 0
    for method, path in operations(target):
        with faults.trial(ATTACK, NO_TOKEN) as trial:
            ask_without(trial, target, method, path)
        asked += 1
    assert asked > 30
    with faults.trial(ATTACK, NO_TOKEN) as trial:
        target.check_whole(trial)


def test_a_viewers_token_changes_nothing(faults: Trials, target: Target) -> None:
    for method, path in operations(target):
        if method == "GET" or path.endswith("/attempts/1/events"):
            continue
        with faults.trial(ATTACK, NO_TOKEN) as trial:
            answer = target.ask(method, path, token="viewer", json={})
            trial.must(answer.status_code == 403, "A", f"{method} {path}: {answer.text[:200]}")


def test_a_service_that_lets_anyone_in_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, NO_TOKEN) as trial:
        ask_without(trial, unguarded, "GET", "/jobs/queued")


def ask_by(trial: Trial, target: Target, path: str, host: str) -> None:
    """Ask with a Host header, as it is."""
    connection = http.client.HTTPConnection(urlsplit(target.plane.url).netloc, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.putheader("Authorization", f"Bearer {target.tokens['admin']}")
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    trial.must(answer.status == 400, "A", f"{path} by {host!r}: {answer.status} {text[:200]}")


@pytest.mark.parametrize("host", FOREIGN)
def test_by_a_foreign_host_nothing_is_answered(faults: Trials, target: Target, host: str) -> None:
    with faults.trial(ATTACK, FOREIGN_HOST) as trial:
        for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/jobs", "/metrics"):
            ask_by(trial, target, path, host)
        target.check_whole(trial)


def test_a_service_that_answers_to_any_host_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, FOREIGN_HOST) as trial:
        ask_by(trial, unguarded, "/jobs", FOREIGN[0])
