"""/ui/sign-in, /ui/sign-out: a token becomes a cookie of the browser, and is forgotten."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from service.access.caller import ForbiddenError, UnidentifiedError, Unknown
from service.access.identity import is_by_https, is_of_own_page
from service.access.tokens import TokenRecord, parse_token, why_unknown
from service.api.dependencies import NoRule, Plane
from service.control_plane import ControlPlane
from service.steady_clock import wall_utc
from service.store.tokens import find_token
from service.ui.cookies import forget_token, keep_token
from service.ui.forms import read_form
from service.ui.pages import SIGN_IN, caller_of, local_path
from service.ui.pages import router as page_router
from service.ui.rendering import page

router = page_router()

HAS_NO_TOKEN_YET = Depends(NoRule("whoever signs in or out has no token, or none that is valid"))
MAX_PATH = 2000
# Of a token and the address to lead back to.
_MAX_BYTES = 4 << 10
_ANOTHER = "ask an admin for another"
_OF_COOKIE = {
    Unknown.NONE_SENT: "This service asks for a token, and your browser has kept none.",
    Unknown.WRONG: "This service does not know the token that your browser kept.",
    Unknown.EXPIRED: "The token that your browser kept has expired.",
    Unknown.REVOKED: "The token that your browser kept was revoked.",
}
_NOT_FOR_CHANGES = (
    "Nothing was changed: the token that your browser kept is from before this page came by https. "
    "Sign in once more."
)
_OF_FORM = {
    Unknown.NONE_SENT: "give a token: it begins with alexnet_",
    Unknown.WRONG: f"this is no token that the service knows; copy it whole, or {_ANOTHER}",
    Unknown.EXPIRED: f"this token has expired; {_ANOTHER}",
    Unknown.REVOKED: f"this token was revoked; {_ANOTHER}",
}


@router.get("/sign-in", dependencies=[HAS_NO_TOKEN_YET])
def sign_in_page(
    request: Request,
    *,
    next_path: Annotated[str, Query(alias="next", max_length=MAX_PATH)] = "",
    again: bool = False,
) -> Response:
    """Ask for a token, unless none is needed or it is known; `again`: what was sent was not."""
    where = local_path(next_path)
    caller = caller_of(request)
    if caller is not None and (caller.token_id is None or not again):
        return RedirectResponse(where, 303)
    why = _why_here(request) if caller is None else _NOT_FOR_CHANGES
    return page(request, None, "sign_in.html", next=where, why=why, error="")


@router.post("/sign-in", dependencies=[HAS_NO_TOKEN_YET])
async def sign_in(request: Request, plane: Plane) -> Response:
    """Keep a token that is valid in a cookie that scripts cannot read and other sites not send."""
    # Else another site could have a browser work for whom that site likes.
    _check_origin(request)
    form = await read_form(request, max_bytes=_MAX_BYTES)
    where, sent = local_path(form.get("next", "")), form.get("token", "").strip()
    why = await run_in_threadpool(_why_unknown, plane, sent)
    if why is not None:
        error = _OF_FORM[why]
        return await run_in_threadpool(
            page, request, None, "sign_in.html", status=401, next=where, why="", error=error
        )
    response = RedirectResponse(where, 303)
    keep_token(response, sent, is_by_https=is_by_https(request.url.scheme, request.headers))
    return response


@router.post("/sign-out", dependencies=[HAS_NO_TOKEN_YET])
def sign_out(request: Request) -> Response:
    """Have the browser forget its token."""
    _check_origin(request)
    # What the browser keeps of what was shown goes with it.
    response = RedirectResponse(SIGN_IN, 303, headers={"Clear-Site-Data": '"cache"'})
    forget_token(response)
    return response


def _check_origin(request: Request) -> None:
    if not is_of_own_page(request.headers):
        raise ForbiddenError("a page of another site sent this; open this page by its own address")


def _why_here(request: Request) -> str:
    """Say why whoever asked for a page is led here."""
    identity = request.state.identity
    if not isinstance(identity, UnidentifiedError):
        return ""
    return _OF_COOKIE.get(identity.why) or str(identity)


def _why_unknown(plane: ControlPlane, sent: str) -> Unknown | None:
    """Return why a token is not valid; None: it is."""
    token = parse_token(sent)
    if token is None:
        return Unknown.WRONG if sent else Unknown.NONE_SENT

    def find(connection: Connection) -> TokenRecord | None:
        return find_token(connection, token.id)

    return why_unknown(plane.store.read_at_once(find), token, wall_utc())
