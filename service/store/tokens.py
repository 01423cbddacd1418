"""API tokens in the store."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, inspect, select, update

from service.access.audit import Action
from service.access.caller import Caller, Role
from service.access.tokens import TokenRecord
from service.store.audit import note_audit
from service.store.tables import tokens

# Asked at each request; to make a statement takes longer than to ask it.
_TOKEN = select(tokens).where(tokens.c.id == bindparam("token_id"))
_ANY_TOKEN = select(tokens.c.id).limit(1)


class NoSuchTokenError(LookupError):
    """There is no such token."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no token {token_id!r}; `alexnet tokens list` names them")


def create_token(connection: Connection, token: TokenRecord, by: Caller, now: datetime) -> None:
    """Keep a token: what it is known by."""
    connection.execute(
        insert(tokens).values(
            id=token.id,
            token_sha256=token.token_sha256,
            owner=token.owner,
            role=token.role,
            description=token.description,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )
    detail = {"owner": token.owner, "role": token.role}
    note_audit(connection, by, Action.CREATE_TOKEN, token.id, now, **detail)


def find_token(connection: Connection, token_id: str) -> TokenRecord | None:
    """Return what is known of a token, live or not."""
    row = connection.execute(_TOKEN, {"token_id": token_id}).one_or_none()
    return None if row is None else _token_of(row)


def list_tokens(connection: Connection) -> list[TokenRecord]:
    """Return every token that there ever was, the newest first."""
    query = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id)
    return [_token_of(row) for row in connection.execute(query)]


def digests_of_live_tokens(connection: Connection, now: datetime) -> dict[str, str]:
    """Return, by id, the digests of all tokens that are neither revoked nor past their time."""
    query = select(tokens.c.id, tokens.c.token_sha256).where(
        tokens.c.revoked_at.is_(None),
        tokens.c.expires_at.is_(None) | (tokens.c.expires_at > now),
    )
    return {row.id: row.token_sha256 for row in connection.execute(query)}


def are_there_tokens(connection: Connection) -> bool:
    """Whether there ever was one: revoking the last must not open what it closed."""
    return connection.execute(_ANY_TOKEN).first() is not None


def knows_tokens(connection: Connection) -> bool:
    """Whether the store is of a release that has tokens."""
    return inspect(connection).has_table(tokens.name)


def has_tokens(connection: Connection) -> bool:
    """Tell of a store of any release, an empty one too, what `are_there_tokens` does."""
    return knows_tokens(connection) and are_there_tokens(connection)


def revoke_token(connection: Connection, token_id: str, by: Caller, now: datetime) -> TokenRecord:
    """End a token, if it was not revoked before; raise NoSuchTokenError."""
    connection.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    found = find_token(connection, token_id)
    if found is None:
        raise NoSuchTokenError(token_id)
    note_audit(connection, by, Action.REVOKE_TOKEN, token_id, now, owner=found.owner)
    return found


def note_use(connection: Connection, token_id: str, now: datetime) -> None:
    """Write down that a token is in use."""
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(used_at=now))


def _token_of(row: Row[Any]) -> TokenRecord:
    values = dict(row._mapping)
    return TokenRecord(role=Role(values.pop("role")), **values)
