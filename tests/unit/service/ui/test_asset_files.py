"""Scripts and the style sheet, over real HTTP."""

import httpx
import pytest

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


def test_who_takes_nothing_compressed_gets_it_plain(http: httpx.Client) -> None:
    answer = http.get(asset("page.css").url, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.content == asset("page.css").plain


@pytest.mark.parametrize("path", ["0/page.css", "0/nothing.js", "0/..%2fassets.py"])
def test_of_another_digest_or_name_there_is_none(http: httpx.Client, path: str) -> None:
    assert http.get(f"/ui/assets/{path}").status_code == 404
