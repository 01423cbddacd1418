"""Scripts and the style sheet: sent compressed, and kept by browsers for good under their digest.

plotly's script is its package's; the package itself is never imported.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

_OWN = Path(__file__).parent / "static"
_PLOTLY = "plotly.min.js"
_DIGEST_CHARACTERS = 16
_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file as it is sent."""

    name: str
    media_type: str
    digest: str
    plain: bytes
    compressed: bytes

    @property
    def url(self) -> str:
        """Path under which it never changes."""
        return f"/ui/assets/{self.digest}/{self.name}"


def asset(name: str) -> Asset:
    """Return a file by its name, read and compressed once; it takes a second. Raises KeyError."""
    # Two at once would compress plotly's script twice.
    with _lock:
        return _read(name)


@cache
def _read(name: str) -> Asset:
    plain = _path(name).read_bytes()
    media_type, _ = mimetypes.guess_type(name)
    return Asset(
        name=name,
        media_type=media_type or "application/octet-stream",
        digest=hashlib.sha256(plain).hexdigest()[:_DIGEST_CHARACTERS],
        plain=plain,
        compressed=gzip.compress(plain, mtime=0),
    )


@cache
def _names() -> frozenset[str]:
    return frozenset({path.name for path in _OWN.iterdir() if path.is_file()} | {_PLOTLY})


def _path(name: str) -> Path:
    if name not in _names():
        raise KeyError(name)
    if name != _PLOTLY:
        return _OWN / name
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "package_data" / _PLOTLY
