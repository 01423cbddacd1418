"""What pages are drawn with."""

import gzip
import hashlib
import subprocess
import sys

import pytest

from service.ui.assets import asset


def test_an_asset_is_known_by_its_digest_and_compressed_once() -> None:
    found = asset("page.css")
    assert gzip.decompress(found.compressed) == found.plain
    assert found.digest == hashlib.sha256(found.plain).hexdigest()[:16]
    assert found.url == f"/ui/assets/{found.digest}/page.css"
    assert found.media_type == "text/css"
    assert asset("page.css") is found


def test_plotlys_script_comes_from_its_package_which_is_not_imported() -> None:
    code = (
        "import sys; from service.ui.assets import asset; one = asset('plotly.min.js'); "
        "assert len(one.compressed) < len(one.plain) / 2, len(one.compressed); "
        "assert 'plotly' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["", "nothing.js", "../assets.py", "plotly.py", "/etc/passwd"])
def test_nothing_else_is_an_asset(name: str) -> None:
    with pytest.raises(KeyError):
        asset(name)
