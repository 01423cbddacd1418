"""/tokens: who may do what."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from service.access.tokens import issue_token
from service.api.dependencies import INVALID, Admin, Leader, Plane
from service.problems import Problem
from service.steady_clock import wall_utc
from service.store.tokens import create_token, list_tokens, revoke_token
from service.views.access import CreatedToken, Token, TokenList, TokenRequest, token_view

router = APIRouter(prefix="/tokens", tags=["access"], responses=INVALID)

_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such token."}
}


@router.get("")
def get_tokens(plane: Plane, _caller: Admin) -> TokenList:
    """List every token, the newest first; those that have ended too."""
    now = wall_utc()
    found = plane.store.read(list_tokens)
    return TokenList(tokens=tuple(token_view(one, now) for one in found))


@router.post("", status_code=201)
def post_token(
    plane: Leader, caller: Admin, request: TokenRequest, response: Response
) -> CreatedToken:
    """Make a token. It is told in this answer and never again.

    Once there is one, every request needs one: make the first for an admin.
    """
    now = wall_utc()
    days = request.expires_in_days
    record, token = issue_token(
        owner=request.owner,
        role=request.role,
        description=request.description,
        expires_in=None if days is None else timedelta(days=days),
        now=now,
    )
    plane.store.write(lambda connection: create_token(connection, record, caller, now))
    response.headers["Cache-Control"] = "no-store"
    return CreatedToken(token=str(token), **token_view(record, now).model_dump())


@router.delete("/{token_id}", responses=_UNKNOWN)
def delete_token(
    plane: Leader, caller: Admin, token_id: Annotated[str, Path(max_length=64)]
) -> Token:
    """Revoke a token: from now on it is none. Asking twice is asking once."""
    now = wall_utc()
    record = plane.store.write(lambda connection: revoke_token(connection, token_id, caller, now))
    return token_view(record, now)
