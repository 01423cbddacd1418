"""Requests for what no client may have: fields that are not theirs, floods, a key used twice."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.attacks.targets import ATTACK, Target, attacked
from tests.faults.trials import Trial, Trials

FORBIDDEN_FIELD = "a field the client may not set"
FLOOD = "a flood"
KEYS = "one idempotency key with another body"


# Fields that are not the client's

FIELDS: Mapping[str, Any] = {
    "id": "mine",
    "status": "SUCCEEDED",
    "desired": "cancel",
    "attempt": 7,
    "num_failures": -1000,
    "owner": "root",
    "entrypoint": "sh -c id",
    "command": ["sh"],
    "runtime_env": {"pip": ["evil"], "env_vars": {"LD_PRELOAD": "/tmp/evil.so"}},
    "env_vars": {"LD_PRELOAD": "/tmp/evil.so"},
    "run_directory": "/etc",
    "data_roots": ["/"],
    "control_plane_url": "http://evil.example",
    "resume_from": "../../other",
    "token": "mine",
    "fence": 10**9,
}


def submit_with(trial: Trial, target: Target, name: str) -> None:
    """Submit a request that has a field more: at the top, and in each group that there is."""
    before = target.num_jobs()
    groups: dict[str, Any] = {"optim": {}, "scale": {}, "checkpoint": {}, "retry": {}}
    bodies = [{name: FIELDS[name]}, *({group: {name: FIELDS[name]}} for group in groups)]
    for path in ("/jobs", "/jobs/plan"):
        for more in bodies:
            answer = target.ask("POST", path, token="submitter", json=target.body | more)
            refused = answer.status_code == 422 and "remove it" in answer.text
            trial.must(refused, "A", f"{path} {more}: {answer.status_code} {answer.text[:200]}")
    trial.must(target.num_jobs() == before, "A", f"a job was made with {name}")


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_not_the_clients_is_refused(
    faults: Trials, target: Target, name: str
) -> None:
    with faults.trial(ATTACK, FORBIDDEN_FIELD) as trial:
        submit_with(trial, target, name)


def test_a_service_that_takes_any_field_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, FORBIDDEN_FIELD) as trial:
        submit_with(trial, unguarded, "entrypoint")


# Floods

BURST = 10
RATE = {"ALEXNET_REQUESTS_PER_SECOND": "0.1", "ALEXNET_REQUEST_BURST": str(BURST)}
SENDERS: Mapping[str, Callable[[int], Mapping[str, str]]] = {
    "nobody": lambda _: {},
    "who makes up tokens": lambda n: {"Authorization": f"Bearer alexnet_{n:012x}_{'a' * 43}"},
    "who guesses": lambda n: {"Authorization": f"Bearer {n}"},
}


def flood(trial: Trial, target: Target, headers: Callable[[int], Mapping[str, str]]) -> None:
    """Ask five times as often as may be."""
    answers = [target.ask("GET", "/jobs", token=None, headers=headers(n)) for n in range(5 * BURST)]
    refused = [answer for answer in answers if answer.status_code == 429]
    # In the time that this takes some more may be let through.
    trial.must(len(refused) >= 3 * BURST, "A", f"{len(refused)} are refused")
    told = all(answer.headers.get("Retry-After") for answer in refused)
    trial.must(told, "A", "it is not said when to come again")


def test_a_flood_is_refused_and_holds_up_nobody_else(faults: Trials, tmp_path: Path) -> None:
    with attacked(tmp_path / "flooded", **RATE) as flooded:
        # Known from before, as whoever works here is.
        assert flooded.ask("GET", "/jobs", token="submitter").is_success
        for who, headers in SENDERS.items():
            with faults.trial(ATTACK, FLOOD) as trial:
                flood(trial, flooded, headers)
                works = flooded.ask("GET", "/jobs", token="submitter").status_code
                trial.must(works == 200, "A", f"{who} holds up others: {works}")
        with faults.trial(ATTACK, FLOOD) as trial:
            own = {"Authorization": f"Bearer {flooded.tokens['viewer']}"}
            # New, of an address that has flooded: it waits as if it were made up.
            flood(trial, flooded, lambda _: own)


def test_a_service_without_limits_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, FLOOD) as trial:
        flood(trial, unguarded, SENDERS["nobody"])


# Idempotency keys


def send_twice(trial: Trial, target: Target, key: str) -> None:
    """Send a key with a body, and with another."""
    headers = {"Idempotency-Key": key}
    first = target.ask("POST", "/jobs", json=target.body, headers=headers)
    assert first.status_code == 201, first.text
    before = target.num_jobs()
    again = target.ask("POST", "/jobs", json=target.body, headers=headers)
    trial.must(again.json().get("id") == first.json()["id"], "A", f"another job: {again.text}")
    other = target.ask("POST", "/jobs", json=target.body | {"seed": 8}, headers=headers)
    refused = other.status_code == 422 and json.loads(other.text)["type"].endswith("-reused")
    trial.must(refused, "A", f"another body: {other.status_code} {other.text[:200]}")
    trial.must(target.num_jobs() == before, "A", "a second job was made")
    # Another owner's key is another.
    theirs = target.ask("POST", "/jobs", token="submitter", json=target.body, headers=headers)
    trial.must(theirs.status_code == 201, "A", f"another owner: {theirs.text[:200]}")


@pytest.mark.parametrize("key", ["a", '"quoted"', "x" * 128, "';DROP_TABLE_jobs;--"])
def test_a_key_with_another_body_makes_nothing(faults: Trials, target: Target, key: str) -> None:
    with faults.trial(ATTACK, KEYS) as trial:
        send_twice(trial, target, key)


def test_a_service_that_compares_no_bodies_is_noticed(faults: Trials, unguarded: Target) -> None:
    with faults.unguarded(ATTACK, KEYS) as trial:
        send_twice(trial, unguarded, "a")
