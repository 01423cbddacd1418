"""Scripts and the style sheet, over real HTTP."""

import httpx
import pytest

from service.access.identity import COOKIE
from service.ui.assets import asset
from tests.unit.service.guarded import Guarded


@pytest.mark.parametrize("name", ["page.css", "live.js", "plotly.min.js", "icon.svg"])
def test_an_asset_is_sent_compressed_and_kept_for_good(guarded: Guarded, name: str) -> None:
    found = asset(name)
    answer = guarded.nobody.get(found.url)
    assert answer.status_code == 200
    assert answer.content == found.plain
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"].startswith(found.media_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = guarded.nobody.get(found.url, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_an_asset_needs_neither_store_nor_identity(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    for name in ("read", "read_at_once"):
        monkeypatch.setattr(guarded.plane.store, name, asked.append)
    for headers in ({}, {"Cookie": f"{COOKIE}=alexnet_000000000000_{'a' * 43}"}):
        assert guarded.nobody.get(asset("page.css").url, headers=headers).status_code == 200
    assert not asked


@pytest.mark.parametrize("path", ["0/../../jobs", "0/a/b", "0", "..%2f0/page.css"])
def test_nothing_else_that_seems_to_lie_there_is_public(guarded: Guarded, path: str) -> None:
    url = httpx.URL(f"{guarded.url}/ui/assets/").copy_with(raw_path=f"/ui/assets/{path}".encode())
    answer = guarded.nobody.get(url)
    assert (answer.status_code, answer.headers["Location"][:11]) == (303, "/ui/sign-in")


def test_who_takes_nothing_compressed_gets_it_plain(http: httpx.Client) -> None:
    answer = http.get(asset("page.css").url, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.content == asset("page.css").plain


@pytest.mark.parametrize("path", ["0/page.css", "0/nothing.js", "0/..%2fassets.py"])
def test_of_another_digest_or_name_there_is_none(http: httpx.Client, path: str) -> None:
    assert http.get(f"/ui/assets/{path}").status_code == 404
