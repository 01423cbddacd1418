"""Floods of requests and of reports, over real HTTP: who is held up, and who is not."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import httpx
import pytest

from service.access.caller import EVERYONE, Role
from service.reconciling.starter import sha256_of_token
from service.settings import Settings
from service.store.tokens import revoke_token
from tests.unit.service.conftest import job_in, now
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import add_token, bearer, guarding
from trainer.contract.status import Status


def test_a_flood_is_refused_by_sender_and_told_when_to_come_again(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        answers = [flooded.ann.get("/jobs") for _ in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 15
        problem = answers[-1]
        assert problem.json()["type"] == "urn:alexnet:problem:too-many-requests"
        assert problem.headers["Content-Type"] == "application/problem+json"
        assert 0 < int(problem.headers["Retry-After"]) <= 100
        # Another token of the same address is another sender, and so is the address without one.
        assert flooded.bob.get("/jobs").status_code == 200
        guesses = [flooded.nobody.get("/jobs", headers=bearer("guess")) for _ in range(10)]
        assert [answer.status_code for answer in guesses] == [401] * 5 + [429] * 5
        # What watches is not held up.
        assert flooded.nobody.get("/healthz").status_code == 200
        assert flooded.nobody.get("/readyz").status_code in {200, 503}


def test_reports_of_attempts_are_as_many_as_they_like(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        job_in(flooded.plane.store, Status.RUNNING, "busy", token_sha256=sha256_of_token("its own"))
        for _ in range(20):
            answer = flooded.nobody.post(
                "/jobs/busy/attempts/1/events", json={"events": []}, headers=bearer("its own")
            )
            assert answer.status_code == 200


EVENTS = "/jobs/busy/attempts/1/events"


def reported(client: httpx.Client, token: str | None, content: bytes = b'{"events": []}') -> int:
    headers = {} if token is None else bearer(token)
    kind = {"Content-Type": "application/json"}
    return client.post(EVENTS, content=content, headers=headers | kind).status_code


@pytest.mark.parametrize(
    ("token", "content", "refused"),
    [
        (None, b'{"events": []}', 401),
        (None, b"{", 401),
        ("guess", b'{"events": []}', 403),
        ("guess", b"{", 403),
    ],
)
def test_refused_reports_are_a_flood_however_they_are_refused(
    settings: Settings, databases: Databases, token: str | None, content: bytes, refused: int
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        job_in(flooded.plane.store, Status.RUNNING, "busy", token_sha256=sha256_of_token("its own"))
        answers = [reported(flooded.nobody, token, content) for _ in range(8)]
        assert answers == [refused] * 5 + [429] * 3
        # What else comes from there is counted by itself, and so are tokens not seen before.
        assert flooded.nobody.get("/jobs").status_code == 401
        assert flooded.ann.get("/jobs").status_code == 200


def test_refused_reports_of_an_attempt_are_a_flood_of_its_own(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        job_in(flooded.plane.store, Status.RUNNING, "busy", token_sha256=sha256_of_token("its own"))
        answers = [reported(flooded.nobody, "its own", b"{") for _ in range(13)]
        # As its address's at first.
        assert answers == [422] * 10 + [429] * 3


def test_a_flood_after_a_restart_keeps_no_attempt_from_being_heard(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        job_in(flooded.plane.store, Status.RUNNING, "busy", token_sha256=sha256_of_token("its own"))
        assert 429 in {reported(flooded.nobody, "guess") for _ in range(8)}
        # All at once, the attempt's own in their midst.
        tokens = [f"guess {number}" for number in range(15)] + ["its own"] + ["guess"] * 14
        with ThreadPoolExecutor(len(tokens)) as senders:
            answers = list(senders.map(partial(reported, flooded.nobody), tokens))
        expected = [200 if token == "its own" else 429 for token in tokens]
        assert answers == expected


@pytest.mark.parametrize("with_tokens", [True, False])
def test_what_others_of_its_address_send_silences_no_attempt(
    settings: Settings, databases: Databases, with_tokens: bool
) -> None:
    with guarding(
        settings,
        databases,
        with_tokens=with_tokens,
        requests_per_second=0.01,
        request_burst=5,
    ) as flooded:
        store, nobody = flooded.plane.store, flooded.nobody
        job_in(store, Status.RUNNING, "busy", token_sha256=sha256_of_token("its own"))
        asked = {nobody.get("/jobs").status_code for _ in range(8)}
        assert 429 in asked
        assert reported(nobody, "its own") == 200
        assert 429 in {reported(nobody, "guess") for _ in range(8)}
        assert [reported(nobody, "its own") for _ in range(8)] == [200] * 8
        # One that was not heard before is looked up, and so is each after a restart.
        job_in(store, Status.RUNNING, "new", token_sha256=sha256_of_token("new's own"))
        for token, expected in (("its own", 429), ("new's own", 200)):
            path = "/jobs/new/attempts/1/events"
            answer = nobody.post(path, json={"events": []}, headers=bearer(token))
            assert answer.status_code == expected
        # To its own path alone.
        other = EVENTS.replace("/1/", "/2/")
        answer = nobody.post(other, json={"events": []}, headers=bearer("its own"))
        assert answer.status_code == 429


@pytest.mark.parametrize("is_made_up_well", [True, False])
def test_a_flood_after_a_restart_keeps_nobody_who_has_a_token_out(
    settings: Settings,
    databases: Databases,
    *,
    is_made_up_well: bool,
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        made = [add_token(flooded.plane, "ann", Role.VIEWER) for _ in range(2)]
        guess = str(replace(made[0], secret="a" * 43)) if is_made_up_well else "guess"

        def asked(token: object) -> int:
            return flooded.nobody.get("/jobs", headers=bearer(token)).status_code

        assert [asked("guess") for _ in range(6)] == [401] * 5 + [429]
        # All at once, two that are valid in their midst.
        tokens = [guess] * 15 + [str(made[0])] + [guess] * 14 + [str(made[1])]
        with ThreadPoolExecutor(len(tokens)) as senders:
            answers = list(senders.map(asked, tokens))
        assert answers == [429 if token == guess else 200 for token in tokens]
        # Each is a sender from then on, and one that is revoked is none.
        assert [asked(made[0]) for _ in range(5)] == [200] * 4 + [429]
        flooded.plane.store.write(
            partial(revoke_token, token_id=made[1].id, by=EVERYONE, now=now())
        )
        assert [asked(made[1]) for _ in range(8)] == [429] * 8
