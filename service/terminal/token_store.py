"""Tokens in the store itself: the first is made before the service listens."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import DatabaseError

from service.access.caller import Caller, Role
from service.access.tokens import TokenRecord, issue_token
from service.errors import UserError
from service.steady_clock import wall_utc
from service.store.migrate import current_version
from service.store.store import Store
from service.store.tokens import (
    NoSuchTokenError,
    create_token,
    knows_tokens,
    list_tokens,
    revoke_token,
)
from service.terminal.read_settings import read_settings
from service.views.access import CreatedToken, Token, token_view


class TokenStoreError(UserError):
    """The store cannot be used for tokens; the message says what to do."""


def create(
    *, owner: str, role: Role, expires_in: timedelta | None, description: str, by: str
) -> CreatedToken:
    """Make a token; the store is made with it, if there is none."""
    now = wall_utc()
    record, token = issue_token(
        owner=owner, role=role, description=description, expires_in=expires_in, now=now
    )
    with _opened() as store:
        store.write(lambda connection: create_token(connection, record, _admin(by), now))
    return CreatedToken(token=str(token), **_shown(record).model_dump())


def read_all() -> tuple[Token, ...]:
    """Return every token, the newest first."""
    with _opened() as store:
        return tuple(_shown(record) for record in store.read(list_tokens))


def revoke(token_id: str, *, by: str) -> Token:
    """End a token. Raises TokenStoreError."""
    with _opened() as store:
        try:
            record = store.write(
                lambda connection: revoke_token(connection, token_id, _admin(by), wall_utc())
            )
        except NoSuchTokenError as error:
            raise TokenStoreError(str(error)) from error
    return _shown(record)


def _admin(actor: str) -> Caller:
    return Caller(owner=actor, role=Role.ADMIN)


def _shown(record: TokenRecord) -> Token:
    return token_view(record, wall_utc())


@contextmanager
def _opened() -> Iterator[Store]:
    """Open the store of the settings; bring an empty one, and no other, to this release's schema.

    One with jobs may be led by another release, which would not know its tables any more.
    """
    settings = read_settings()
    url = make_url(settings.store_url)
    if url.get_backend_name() == "sqlite" and url.database:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    with closing(Store(settings.store_url)) as store:
        try:
            if store.read(current_version) is None:
                store.migrate()
            if not store.read(knows_tokens):
                raise TokenStoreError(
                    "ALEXNET_STORE_URL: the store is of an earlier release; start `alexnet serve` "
                    "once, on loopback, which brings it to this one's"
                )
            yield store
        except DatabaseError as error:
            raise TokenStoreError(
                f"ALEXNET_STORE_URL: {url!r} cannot be used as the store ({error.orig}); name the "
                "one of the service"
            ) from error
