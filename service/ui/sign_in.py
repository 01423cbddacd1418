"""/ui/sign-in, /ui/sign-out: a token becomes a cookie of the browser, and is forgotten."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from service.access.caller import ForbiddenError
from service.access.identity import COOKIE, is_of_own_page
from service.access.tokens import TokenRecord, is_valid, parse_token
from service.api.dependencies import NoRule, Plane
from service.control_plane import ControlPlane
from service.steady_clock import wall_utc
from service.store.tokens import find_token
from service.ui.forms import read_form
from service.ui.pages import SIGN_IN, caller_of, local_path
from service.ui.pages import router as page_router
from service.ui.rendering import page

router = page_router()

HAS_NO_TOKEN_YET = Depends(NoRule("whoever signs in or out has no token, or none that is valid"))
MAX_PATH = 2000
# Of a token and the address to lead back to.
_MAX_BYTES = 4 << 10


@router.get("/sign-in", dependencies=[HAS_NO_TOKEN_YET])
def sign_in_page(
    request: Request, *, next_path: Annotated[str, Query(alias="next", max_length=MAX_PATH)] = ""
) -> Response:
    """Ask for a token, unless none is needed or it is known."""
    where = local_path(next_path)
    if caller_of(request) is not None:
        return RedirectResponse(where, 303)
    return page(request, None, "sign_in.html", next=where, error="")


@router.post("/sign-in", dependencies=[HAS_NO_TOKEN_YET])
async def sign_in(request: Request, plane: Plane) -> Response:
    """Keep a token that is valid in a cookie that scripts cannot read and other sites not send."""
    # Else another site could have a browser work for whom that site likes.
    _check_origin(request)
    form = await read_form(request, max_bytes=_MAX_BYTES)
    where, sent = local_path(form.get("next", "")), form.get("token", "").strip()
    if not await run_in_threadpool(_is_token, plane, sent):
        error = "this token is unknown, revoked or expired; ask an admin for another"
        return await run_in_threadpool(
            page, request, None, "sign_in.html", status=401, next=where, error=error
        )
    response = RedirectResponse(where, 303)
    response.set_cookie(
        COOKIE,
        sent,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/sign-out", dependencies=[HAS_NO_TOKEN_YET])
def sign_out(request: Request) -> Response:
    """Have the browser forget its token."""
    _check_origin(request)
    # What the browser keeps of what was shown goes with it.
    response = RedirectResponse(SIGN_IN, 303, headers={"Clear-Site-Data": '"cache"'})
    response.delete_cookie(
        COOKIE, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return response


def _check_origin(request: Request) -> None:
    if not is_of_own_page(request.headers):
        raise ForbiddenError("a page of another site sent this; open this page by its own address")


def _is_token(plane: ControlPlane, sent: str) -> bool:
    token = parse_token(sent)
    if token is None:
        return False

    def find(connection: Connection) -> TokenRecord | None:
        return find_token(connection, token.id)

    known = plane.store.read_at_once(find)
    return known is not None and is_valid(known, token.secret, wall_utc())
