"""Templates become pages: escaped, with the headers that keep what others wrote inert."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.access.caller import Caller
from service.ui import formats
from service.ui.assets import asset
from service.ui.navigation import links_for

_TEMPLATES = Path(__file__).parent / "templates"
# plotly writes style attributes, and two elements of style: one of its maps, which browsers would
# report as refused, and one that begins empty, into which it puts rules.
_OF_PLOTLY = (
    "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o=' "
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
)
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        f"style-src 'self' {_OF_PLOTLY}",
        "style-src-attr 'unsafe-inline'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # What a token lets one see is gone with it.
    "Cache-Control": "no-store",
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": formats.age,
        "count": formats.count,
        "decimal": formats.decimal,
        "duration": formats.duration,
        "iso": formats.iso,
        "moment": formats.moment,
        "percent": formats.percent,
        "size": formats.size,
    }
    environment.globals["asset_url"] = lambda name: asset(name).url
    return environment


def page(
    request: Request, caller: Caller | None, template: str, *, status: int = 200, **context: Any
) -> HTMLResponse:
    """Answer with a template that extends base.html; `caller` None: who asks is not known.

    Reads files at the first call: for a thread.
    """
    path = request.url.path
    html = fragment(
        template,
        caller=caller,
        path=path,
        links=links_for(caller, path),
        **context,
    )
    return HTMLResponse(html, status, headers=HEADERS)


def fragment(template: str, **context: Any) -> str:
    """Return a template alone, as streams send it."""
    return _environment().get_template(template).render(context)
