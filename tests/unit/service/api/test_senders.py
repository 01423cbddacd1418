"""Answers that take long: for whom, how many at once, and until when."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.access.caller import EVERYONE, Role
from service.access.tokens import NewToken
from service.api.operations import REMEMBER_S
from service.settings import Settings
from service.store.tokens import find_token, revoke_token
from tests.unit.service.conftest import job_in, now, wait_until
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import Guarded, add_token, bearer, guarding
from trainer.contract.status import Status

EVENTS = "/jobs/waits/events"
LOGS = "/jobs/waits/logs?follow=true"
STREAM = {"Accept": "text/event-stream"}
TAKEN = "urn:alexnet:problem:streams-taken"


@pytest.fixture(scope="module")
def guarded(settings: Settings, databases: Databases) -> Iterator[Guarded]:
    """Two streams and two downloads of a sender, three of all; jobs `waits` and `printed`."""
    bounds: dict[str, Any] = {"max_event_streams": 3, "max_downloads": 3, "max_open_per_sender": 2}
    with guarding(settings, databases, **bounds) as served:
        job_in(served.plane.store, Status.QUEUED, "waits")
        job_in(served.plane.store, Status.RUNNING, "printed")
        yield served


def revoke(guarded: Guarded, token: NewToken) -> None:
    guarded.plane.store.write(
        lambda connection: revoke_token(connection, token.id, EVERYONE, now())
    )


def gauge(guarded: Guarded, name: str) -> float:
    text = guarded.admin.get("/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


# Until when


@pytest.mark.parametrize(
    ("path", "headers"),
    [(EVENTS, STREAM), (LOGS, STREAM), (LOGS, {"Accept": "text/plain"})],
)
def test_a_stream_ends_with_the_token_that_it_was_asked_for_with(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    for module in ("streams", "logs"):
        monkeypatch.setattr(f"service.api.{module}.KEEP_ALIVE_S", 0.0)
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    with guarded.nobody.stream("GET", path, headers=headers | bearer(token)) as answer:
        assert answer.status_code == 200
        wait_until(lambda: gauge(guarded, "alexnet_event_streams") == 1)
        revoke(guarded, token)
        # It would go on for ever.
        told = answer.read()
    # A text says by itself that it is not whole.
    is_text = headers["Accept"] == "text/plain"
    assert told.endswith(b"\n==> the token ended <==\n") == is_text
    assert guarded.nobody.get("/jobs/waits", headers=bearer(token)).status_code == 401


def test_a_wait_for_events_ends_with_its_token(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.streams.KEEP_ALIVE_S", 0.0)
    token = add_token(guarded.plane, "ann", Role.VIEWER)
    answers: list[httpx.Response] = []

    def ask() -> None:
        query = {"after": 1, "wait_s": 50}
        answers.append(
            httpx.get(f"{guarded.url}{EVENTS}", params=query, headers=bearer(token), timeout=60)
        )

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: gauge(guarded, "alexnet_event_streams") == 1)
    revoke(guarded, token)
    asking.join()
    assert answers[0].status_code == 401


def test_a_stream_outlives_a_store_that_does_not_answer_for_a_while(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.streams.KEEP_ALIVE_S", 0.0)
    asked = threading.Semaphore(0)

    def locked(*_: object) -> None:
        asked.release()
        raise OperationalError("", None, Exception("locked"))

    with guarded.ann.stream("GET", EVENTS, headers=STREAM) as answer:
        lines = answer.iter_lines()
        next(lines)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("service.api.access.find_token", locked)
            for _ in range(3):
                assert asked.acquire(timeout=10)
        assert next(line for line in lines if line.startswith(":"))


# How many


def test_nobody_takes_the_streams_of_others(guarded: Guarded) -> None:
    with ExitStack() as open_streams:

        def follow(client: httpx.Client, path: str) -> httpx.Response:
            answer = open_streams.enter_context(client.stream("GET", path, headers=STREAM))
            if answer.is_error:
                answer.read()
            return answer

        assert follow(guarded.vic, EVENTS).status_code == 200
        assert follow(guarded.vic, LOGS).status_code == 200
        own = follow(guarded.vic, EVENTS)
        assert (own.status_code, own.json()["type"]) == (429, TAKEN)
        assert "ALEXNET_MAX_OPEN_PER_SENDER" in own.json()["detail"]
        assert own.headers["Retry-After"]
        assert guarded.vic.get(f"{EVENTS}?after=1&wait_s=1").status_code == 429
        assert follow(guarded.bob, EVENTS).status_code == 200
        all_of_them = follow(guarded.ann, EVENTS)
        assert (all_of_them.status_code, all_of_them.json()["type"]) == (503, TAKEN)
        assert "ALEXNET_MAX_EVENT_STREAMS" in all_of_them.json()["detail"]
    wait_until(lambda: gauge(guarded, "alexnet_event_streams") == 0)


def test_without_tokens_only_what_is_open_in_all_is_bounded(
    settings: Settings, databases: Databases
) -> None:
    bounds = {"max_event_streams": 3, "max_open_per_sender": 1}
    with (
        guarding(settings, databases, with_tokens=False, **bounds) as served,
        ExitStack() as open_streams,
    ):
        job_in(served.plane.store, Status.QUEUED, "waits")
        answers = [
            open_streams.enter_context(served.nobody.stream("GET", EVENTS, headers=STREAM))
            for _ in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 503]


@pytest.fixture
def large(guarded: Guarded) -> str:
    """Address of a file that no buffer holds."""
    run: Path = guarded.plane.settings.run_root / "printed"
    run.mkdir(parents=True, exist_ok=True)
    with (run / "large.bin").open("wb") as file:
        file.truncate(1 << 26)
    return "/jobs/printed/artifacts/large.bin"


def test_nobody_takes_the_downloads_of_others(guarded: Guarded, large: str) -> None:
    with ExitStack() as downloads:

        def download(client: httpx.Client) -> httpx.Response:
            answer = downloads.enter_context(client.stream("GET", large))
            if answer.is_error:
                answer.read()
            return answer

        mine = [download(guarded.vic) for _ in range(2)]
        assert [one.status_code for one in mine] == [200, 200]
        own = download(guarded.vic)
        assert (own.status_code, own.json()["type"]) == (429, TAKEN)
        # Of what they have nothing is sent, so that it takes none.
        known = {"If-None-Match": mine[0].headers["ETag"]}
        assert guarded.vic.get(large, headers=known).status_code == 304
        assert download(guarded.bob).status_code == 200
        all_of_them = download(guarded.ann)
        assert (all_of_them.status_code, all_of_them.json()["type"]) == (503, TAKEN)
        assert "ALEXNET_MAX_DOWNLOADS" in all_of_them.json()["detail"]
        assert gauge(guarded, "alexnet_downloads") == 3
    wait_until(lambda: gauge(guarded, "alexnet_downloads") == 0)


# How often


def counted(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids that are looked up from now on, as they are."""
    asked: list[str] = []

    def note(connection: Any, token_id: str) -> Any:
        asked.append(token_id)
        return find_token(connection, token_id)

    monkeypatch.setattr("service.api.access.find_token", note)
    return asked


def made_up(number: int) -> dict[str, str]:
    return bearer(NewToken(id=f"{number:012x}", secret="a" * 43))


def test_tokens_that_are_made_up_are_not_looked_up_without_end(
    settings: Settings, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        assert flooded.ann.get("/jobs").status_code == 200
        asked = counted(flooded, monkeypatch)
        answers = [flooded.nobody.get("/jobs", headers=made_up(n)) for n in range(20)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 15
        assert len(asked) == 5
        # Whoever of that address was let in before still is, as often as ever.
        assert [flooded.ann.get("/jobs").status_code for _ in range(5)] == [200] * 4 + [429]
        # What is beyond that is not looked up either.
        assert len(asked) == 9


def test_valid_tokens_of_one_address_are_senders_each_from_the_first_request_on(
    settings: Settings, databases: Databases
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        tokens = [add_token(flooded.plane, f"owner{n}", Role.VIEWER) for n in range(12)]
        for token in tokens:
            assert flooded.nobody.get("/jobs", headers=bearer(token)).status_code == 200


def test_a_token_that_was_revoked_is_like_one_that_is_made_up(
    settings: Settings, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarding(settings, databases, requests_per_second=0.01, request_burst=5) as flooded:
        token = add_token(flooded.plane, "ann", Role.VIEWER)
        assert flooded.nobody.get("/jobs", headers=bearer(token)).status_code == 200
        revoke(flooded, token)
        asked = counted(flooded, monkeypatch)
        answers = [flooded.nobody.get("/jobs", headers=bearer(token)) for _ in range(12)]
        # By its address, from the first one on.
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 7
        assert len(asked) == 5


class Clock:
    """Set by hand; stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1e9

    def monotonic(self) -> float:
        return self.now_s


def test_readiness_costs_one_look_at_the_store_however_many_ask(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("service.api.remembered.time", clock)
    looks: list[object] = []
    read = guarded.plane.store.read

    def note(query: Any) -> Any:
        looks.append(query)
        return read(query)

    monkeypatch.setattr(guarded.plane.store, "read", note)
    for second in range(1, 4):
        clock.now_s += REMEMBER_S
        for _ in range(10):
            assert guarded.nobody.get("/readyz").json()["role"] == "leader"
        assert len(looks) == second
