"""What is refused on a page is told on a page: the API's problem, in HTML."""

import json
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from service.access.caller import Caller, UnidentifiedError
from service.access.identity import SAFE_METHODS
from service.problems import Problem
from service.ui.rendering import page

SIGN_IN = "/ui/sign-in"
# What scripts ask for: they can show no page.
LIVE = "/ui/live/"


class PageRoute(APIRoute):
    """A route that answers errors with pages, and asks whoever is not known to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except UnidentifiedError:
                if request.url.path.startswith(LIVE):
                    raise
                return to_sign_in(request)
            except Exception as error:
                problem = await problem_of(request, error)
                if problem is None:
                    raise
                return await run_in_threadpool(
                    page,
                    request,
                    caller_of(request),
                    "problem.html",
                    status=problem.status,
                    problem=problem,
                )

        return handle_page


def router() -> APIRouter:
    """Return a router of pages."""
    return APIRouter(prefix="/ui", route_class=PageRoute, include_in_schema=False)


def caller_of(request: Request) -> Caller | None:
    """Return who asks; None: it is not known."""
    identity = getattr(request.state, "identity", None)
    return identity if isinstance(identity, Caller) else None


def to_sign_in(request: Request) -> Response:
    """Lead to the page that asks for a token, and from there back."""
    if request.method not in SAFE_METHODS:
        # What only looks may be known by a cookie that changes nothing: then it is to be asked too.
        return RedirectResponse(f"{SIGN_IN}?again=true&next={quote('/ui/', safe='')}", 303)
    asked = request.url.path
    if request.url.query:
        asked += f"?{request.url.query}"
    return RedirectResponse(f"{SIGN_IN}?next={quote(asked, safe='')}", 303)


async def problem_of(request: Request, error: Exception) -> Problem | None:
    """Return the problem that the API would answer an error with; None: it has none for it."""
    handlers = request.app.exception_handlers
    found = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    if found is None or found is handlers.get(Exception):
        return None
    response = await run_in_threadpool(found, request, error)
    return Problem.model_validate(json.loads(response.body))


def local_path(text: str, *, default: str = "/ui/") -> str:
    """Return where a form asks to be led back to, if that is a page of ours."""
    if not text.startswith("/ui/"):
        return default
    # Browsers take each of these for a step up, or for what could lead to one.
    is_below = "\\" not in text and ".." not in unquote(urlsplit(text).path).split("/")
    return text if is_below and text.isascii() and text.isprintable() else default
