"""Who a request comes from, by what it carries. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

from service.access.caller import Caller, ForbiddenError, Role, UnidentifiedError
from service.access.tokens import TokenRecord, is_valid, parse_token

# What asks for nothing to be changed; a page of another site may have a browser send it.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# In which a browser keeps the token that its page was given.
COOKIE = "alexnet_token"
# Of more characters it is none of the service's tokens, which have 64.
_MAX_COOKIE = 200
# Beside all whose names begin with x-forwarded-: what proxies add to what they pass on.
_OF_PROXIES = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"}
)
_HOW = (
    "send one as `Authorization: Bearer TOKEN`; the command line takes it from ALEXNET_TOKEN or "
    "~/.config/alexnet/token, and `alexnet tokens create` on the service's machine makes one"
)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a request says of its sender."""

    method: str
    headers: Mapping[str, str]
    """By names in small letters."""
    address: str | None

    @property
    def bearer(self) -> str | None:
        """The token it carries, of whatever kind; None: none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    @property
    def token(self) -> str | None:
        """The token it carries, or else its cookie; None: none."""
        return self._cookie if self.is_by_cookie else self.bearer

    @property
    def is_by_cookie(self) -> bool:
        """Whether a browser adds it by itself, whichever site's page has it ask."""
        # A proxy may ask for a password of its own, and pass that on beside the cookie.
        return self.bearer is None and self._cookie is not None

    @cached_property
    def _cookie(self) -> str | None:
        """The cookie's value, empty where it is too long to be a token; None: there is none."""
        # Not by the standard library, which takes time in the square of what whoever sends, and
        # stops at what others' cookies may hold.
        for part in self.headers.get("cookie", "").split(";"):
            name, _, value = part.partition("=")
            if name.strip() == COOKIE:
                value = value.strip()
                return value if len(value) <= _MAX_COOKIE else ""
        return None

    @property
    def token_id(self) -> str | None:
        """Which of the service's tokens it claims to be; None: none of them."""
        token = parse_token(self.token or "")
        return None if token is None else token.id


def identify(
    credentials: Credentials,
    known: TokenRecord | None,
    *,
    is_open: bool,
    now: datetime,
) -> Caller:
    """Return who asks. `known`: what is stored of the token that the request claims to be.

    `is_open`: no tokens are asked for. Raises UnidentifiedError; ForbiddenError for what a page of
    another site sends.
    """
    if is_open:
        return _anyone(credentials)
    token = parse_token(credentials.token or "")
    if token is None:
        what = "no token" if credentials.token is None else "not a token of this service"
        raise UnidentifiedError(f"{what}: {_HOW}")
    # One message for all that is wrong: it tells whoever guesses nothing.
    if known is None or known.id != token.id or not is_valid(known, token.secret, now):
        raise UnidentifiedError(f"the token is unknown, revoked or expired: {_HOW}")
    is_change = credentials.method not in SAFE_METHODS
    if credentials.is_by_cookie and is_change and not is_of_own_page(credentials.headers):
        raise ForbiddenError(
            "a browser's cookie changes something for pages of this service alone; send the token "
            "as `Authorization: Bearer TOKEN`"
        )
    return Caller(
        owner=known.owner, role=known.role, address=credentials.address, token_id=known.id
    )


def _anyone(credentials: Credentials) -> Caller:
    """Let in whoever is on this machine, and nobody whom something else lets in.

    A proxy that adds nothing to what it passes on cannot be told from this machine.
    """
    headers = credentials.headers
    if any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in headers):
        raise UnidentifiedError(
            "this came through a proxy, and the service has no tokens yet, so that it trusts its "
            "own machine alone; make the first token with `alexnet tokens create` there"
        )
    if credentials.method not in SAFE_METHODS and _is_of_another_site(headers):
        raise ForbiddenError(
            "a page of another site sent this from a browser; use the command line, or a page of "
            "this service"
        )
    return Caller(owner=None, role=Role.ADMIN, address=credentials.address)


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    if headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def is_of_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this service sent it; what says nothing is of none."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")
