"""Drivers that are not installed here, by what ours gives them and takes of them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import fsspec
import pytest

from data_shards.errors import StorageError
from data_shards.storage.failure import RedirectedError
from data_shards.storage.file_system import UnheldDriverError, open_file_system
from data_shards.storage.folder import open_folder
from tests.unit.service.stub_server import Answer, StubServer


def install(monkeypatch: pytest.MonkeyPatch, system: Any) -> None:
    """Have fsspec give a file system; `system` is told how it is to be made."""
    monkeypatch.setattr(fsspec, "filesystem", lambda _, **options: system(**options))


def opened(scheme: str) -> Any:
    return open_file_system(scheme, connect_s=1, read_s=1)


def as_gcsfs(*, session_kwargs: dict[str, Any] | None = None, **_: object) -> Any:
    return SimpleNamespace(session_kwargs=session_kwargs or {})


async def _ask(url: str, session_kwargs: dict[str, Any]) -> int:
    """Ask as gcsfs does."""
    async with aiohttp.ClientSession(**session_kwargs) as session, session.get(url) as answer:
        return answer.status


@pytest.mark.parametrize("header", ["Location", "location", "URI"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_session_of_gs_follows_no_redirect(
    monkeypatch: pytest.MonkeyPatch, status: int, header: str
) -> None:
    install(monkeypatch, as_gcsfs)
    with StubServer(lambda _: Answer(200)) as elsewhere:
        sent = Answer(status, headers={header: elsewhere.url})
        with StubServer(lambda _: sent) as store:
            for _ in range(2):
                with pytest.raises(RedirectedError, match=f"HTTP {status}"):
                    asyncio.run(_ask(store.url, opened("gs").session_kwargs))
        assert elsewhere.requests == []


def test_a_store_of_gs_that_says_how_much_it_has_sends_nobody_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, as_gcsfs)
    with StubServer(lambda _: Answer(308, headers={"Range": "bytes=0-9"})) as store:
        assert asyncio.run(_ask(store.url, opened("gs").session_kwargs)) == 308


def as_adlfs(*policies: object) -> Any:
    client = SimpleNamespace(_pipeline=SimpleNamespace(_impl_policies=list(policies)))
    return lambda **_: SimpleNamespace(service_client=client)


class RedirectPolicy:
    """As azure's own."""

    allow = True

    def configure_redirects(self) -> None:
        """What it is known by."""


def test_a_client_of_az_follows_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    redirects, other = RedirectPolicy(), SimpleNamespace(allow=True)
    install(monkeypatch, as_adlfs(other, redirects))
    opened("az")
    assert (redirects.allow, other.allow) == (False, True)


@pytest.mark.parametrize(
    ("scheme", "system"),
    [
        ("gs", lambda **_: SimpleNamespace()),
        ("az", lambda **_: SimpleNamespace()),
        ("az", as_adlfs(SimpleNamespace(allow=True))),
    ],
)
def test_a_driver_that_would_follow_redirects_is_not_used(
    monkeypatch: pytest.MonkeyPatch, scheme: str, system: Any
) -> None:
    install(monkeypatch, system)
    with pytest.raises(UnheldDriverError):
        opened(scheme)
    with pytest.raises(StorageError, match=r"would follow a redirect .*; install a"):
        open_folder(f"{scheme}://bucket/a")
