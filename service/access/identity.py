"""Who a request comes from, by what it carries. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

from service.access.caller import Caller, ForbiddenError, Role, UnidentifiedError, Unknown
from service.access.tokens import TokenRecord, parse_token, why_unknown
from service.loopback import is_loopback

# What asks for nothing to be changed; a page of another site may have a browser send it.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# In which a browser keeps the token that its page was given. The first is for pages that came by
# https: browsers take it from, and send it to, none but those, and none but this host's.
HOST_COOKIE = "__Host-alexnet_token"
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
    scheme: str = "http"
    """By which it came here."""

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
        found: dict[str, str] = {}
        for part in self.headers.get("cookie", "").split(";"):
            name, _, value = part.partition("=")
            # What else Python takes for a space is a letter to browsers, which let another site
            # plant a cookie whose name begins with it.
            found.setdefault(name.strip(" \t"), value.strip(" \t"))
        # The weaker one can be put there by whoever is between, so that it never stands in for one
        # that is not valid, nor for one that could have come.
        is_weak_enough = HOST_COOKIE not in found and not is_by_https(self.scheme, self.headers)
        kept = found.get(COOKIE if is_weak_enough else HOST_COOKIE)
        return "" if kept is not None and len(kept) > _MAX_COOKIE else kept

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
        if credentials.token is None:
            raise UnidentifiedError(f"no token: {_HOW}", Unknown.NONE_SENT)
        raise UnidentifiedError(f"not a token of this service: {_HOW}", Unknown.WRONG)
    why = why_unknown(known, token, now)
    if known is None or why is not None:
        # One message for all that is wrong: it tells whoever guesses nothing.
        message = f"the token is unknown, revoked or expired: {_HOW}"
        raise UnidentifiedError(message, why or Unknown.WRONG)
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
            "own machine alone; make the first token with `alexnet tokens create` there",
            Unknown.NO_TOKENS_YET,
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


def is_by_https(scheme: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser sent it by https, though a proxy that nobody trusts passed it on by http.

    Browsers tell the origin of what changes something, and of little else; from which site it comes
    they tell by https alone, but for their own machine.
    """
    if scheme == "https" or headers.get("origin", "").lower().startswith("https://"):
        return True
    host = headers.get("host")
    return host is not None and "sec-fetch-site" in headers and not _is_own_machine(host)


def _is_own_machine(host: str) -> bool:
    """Whether a browser trusts this host as it would by https."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")


def is_of_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this service sent it; what says nothing is of none."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")
