"""Which tokens are live: one read of the store for all who ask at once."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from service.api.live_tokens import LiveTokens
from service.reconciling.starter import sha256_of_token
from service.store.attempts import live_tokens
from service.store.store import Store
from tests.unit.service.conftest import job_in
from trainer.contract.status import Status


class Stored:
    """Stands for a store that holds the tokens of attempts, and counts how often it is read."""

    def __init__(self, **tokens: str) -> None:
        self.tokens = tokens
        self.num_reads = 0
        self.is_away = False
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def read(self, _query: Callable[..., Any]) -> dict[tuple[str, int], str]:
        self.num_reads += 1
        if self.is_away:
            raise OperationalError("", None, Exception("database is locked"))
        found = {(job, 1): sha256_of_token(token) for job, token in self.tokens.items()}
        self.has_begun.set()
        assert self.may_end.wait(10)
        return found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.live_tokens._GATHER_S", 0.0)


class Asked:
    """What is told of tokens of attempts."""

    def __init__(self, stored: Stored) -> None:
        self._live = LiveTokens(cast("Store", stored), live_tokens)

    async def is_of(self, job: str, attempt: int, token: str) -> bool:
        return await self._live.is_of((job, attempt), sha256_of_token(token))


def test_all_who_ask_at_once_share_a_read_and_each_is_told_of_its_own() -> None:
    stored = Stored(a="token of a", b="token of b")

    async def ask() -> list[bool]:
        tokens = Asked(stored)
        of_each = [("a", "token of a"), ("a", "token of b"), ("b", "token of b"), ("c", "guess")]
        return await asyncio.gather(
            *(tokens.is_of(job, 1, token) for job, token in of_each * 100),
            tokens.is_of("a", 2, "token of a"),
        )

    *answers, of_another_attempt = asyncio.run(ask())
    assert answers == [True, False, True, False] * 100
    assert not of_another_attempt
    assert stored.num_reads == 1


def test_one_that_was_read_needs_no_further_read() -> None:
    stored = Stored(a="token of a")

    async def ask() -> list[bool]:
        tokens = Asked(stored)
        return [await tokens.is_of("a", 1, "token of a") for _ in range(3)]

    assert asyncio.run(ask()) == [True] * 3
    assert stored.num_reads == 1


def test_an_attempt_that_begins_while_the_store_is_read_is_found_by_the_next_read() -> None:
    stored = Stored()
    stored.may_end.clear()

    async def ask() -> tuple[bool, bool]:
        tokens = Asked(stored)
        guess = asyncio.create_task(tokens.is_of("a", 1, "guess"))
        assert await asyncio.to_thread(stored.has_begun.wait, 10)
        stored.tokens["a"] = "token of a"
        own = asyncio.create_task(tokens.is_of("a", 1, "token of a"))
        await asyncio.sleep(0)
        stored.may_end.set()
        return await guess, await own

    assert asyncio.run(ask()) == (False, True)
    assert stored.num_reads == 2


def test_of_a_store_that_is_away_what_was_read_before_holds_on() -> None:
    stored = Stored(a="token of a")

    async def ask() -> list[bool]:
        tokens = Asked(stored)
        before = await tokens.is_of("a", 1, "token of a")
        stored.is_away = True
        return [before, await tokens.is_of("b", 1, "b"), await tokens.is_of("a", 1, "token of a")]

    assert asyncio.run(ask()) == [True, False, True]


def test_tokens_are_those_of_all_attempts_of_jobs_that_run(store: Store) -> None:
    for status in (Status.QUEUED, Status.STARTING, Status.RUNNING, Status.CANCELLED):
        job_in(store, status, status.lower(), token_sha256=sha256_of_token(status))
    job_in(store, Status.RUNNING, "untold")
    assert store.read(live_tokens) == {
        ("starting", 1): sha256_of_token(Status.STARTING),
        ("running", 1): sha256_of_token(Status.RUNNING),
    }
