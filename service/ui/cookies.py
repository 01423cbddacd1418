"""The cookie in which a browser keeps its token."""

from fastapi import Response

from service.access.identity import COOKIE, HOST_COOKIE


def keep_token(response: Response, token: str, *, is_by_https: bool) -> None:
    """Have the browser keep a token, where scripts cannot read it, nor other sites have it sent."""
    name, other = (HOST_COOKIE, COOKIE) if is_by_https else (COOKIE, HOST_COOKIE)
    _forget(response, other)
    response.set_cookie(name, token, path="/", secure=is_by_https, httponly=True, samesite="strict")


def forget_token(response: Response) -> None:
    """Have the browser forget it."""
    for name in (COOKIE, HOST_COOKIE):
        _forget(response, name)


def _forget(response: Response, name: str) -> None:
    # Browsers take nothing of that name, its end neither, unless it is secure.
    response.delete_cookie(
        name, path="/", secure=name == HOST_COOKIE, httponly=True, samesite="strict"
    )
