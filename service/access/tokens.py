"""API tokens: what they look like, and whether one is valid. Pure, but for drawing a secret."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.access.caller import Role, Unknown

PREFIX = "alexnet"
# How exactly it is known when a token was last used; each time costs a write.
USED_AT_PRECISION = timedelta(minutes=1)

_TOKEN = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token as its owner is shown it, once."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{PREFIX}_{self.id}_{self.secret}"


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """What is stored of a token: never the secret."""

    id: str
    token_sha256: str
    owner: str
    role: Role
    description: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it is neither revoked nor past its time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def issue_token(
    *,
    owner: str,
    role: Role,
    description: str,
    expires_in: timedelta | None,
    now: datetime,
) -> tuple[TokenRecord, NewToken]:
    """Draw a token that nobody can guess, of 256 bits; return what to store, and what to tell."""
    token = NewToken(id=secrets.token_hex(6), secret=secrets.token_urlsafe(32))
    record = TokenRecord(
        id=token.id,
        token_sha256=sha256_of_secret(token.secret),
        owner=owner,
        role=role,
        description=description,
        created_at=now,
        expires_at=None if expires_in is None else now + expires_in,
        revoked_at=None,
        used_at=None,
    )
    return record, token


def parse_token(text: str) -> NewToken | None:
    """Take a token apart; None: it is none of this service."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else NewToken(id=found[1], secret=found[2])


def sha256_of_secret(secret: str) -> str:
    """Digest under which the store keeps a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def why_unknown(record: TokenRecord | None, token: NewToken, now: datetime) -> Unknown | None:
    """Return why a token that was sent is not valid; None: it is. `record`: what is stored by it.

    Takes as long for any secret, and tells more than that it is wrong to whoever has the right one.
    """
    if record is None or record.id != token.id:
        return Unknown.WRONG
    if not hmac.compare_digest(sha256_of_secret(token.secret), record.token_sha256):
        return Unknown.WRONG
    if record.is_live(now):
        return None
    return Unknown.EXPIRED if record.revoked_at is None else Unknown.REVOKED


def is_use_due(record: TokenRecord, now: datetime) -> bool:
    """Whether it is to be written down that the token is used."""
    return record.used_at is None or now - record.used_at >= USED_AT_PRECISION
