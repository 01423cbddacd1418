"""/ui/assets/: scripts and the style sheet, for everyone."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Response

from service.api.dependencies import NoRule
from service.ui.assets import asset

router = APIRouter(prefix="/ui/assets", include_in_schema=False)

HAS_NO_SECRETS = Depends(NoRule("what everyone's page is drawn with tells nothing"))
_FOR_GOOD = "public, max-age=31536000, immutable"


# Not of the event loop: the first call compresses megabytes.
@router.get("/{digest}/{name}", dependencies=[HAS_NO_SECRETS])
def asset_file(
    digest: Annotated[str, Path(max_length=64)],
    name: Annotated[str, Path(max_length=64)],
    *,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Send a file; of another release's digest there is none."""
    try:
        found = asset(name)
    except KeyError:
        return Response(status_code=404)
    if found.digest != digest:
        return Response(status_code=404)
    headers = {
        "Cache-Control": _FOR_GOOD,
        "ETag": f'"{digest}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        # Of an image that is opened by itself.
        "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'",
    }
    if digest in if_none_match:
        return Response(status_code=304, headers=headers)
    if "gzip" in accept_encoding:
        compressed = headers | {"Content-Encoding": "gzip"}
        return Response(found.compressed, headers=compressed, media_type=found.media_type)
    return Response(found.plain, headers=headers, media_type=found.media_type)
