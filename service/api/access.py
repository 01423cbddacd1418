"""Who sends a request, and whether it sends too many: told before any route is asked."""

import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.caller import Caller, ForbiddenError, UnidentifiedError
from service.access.identity import Credentials, identify
from service.access.quotas import QuotaExceededError
from service.access.rate_limits import Rate, RateLimiter, ValidTokens, remember, sender_of
from service.access.slots import NoSlotError
from service.access.tokens import (
    USED_AT_PRECISION,
    TokenRecord,
    is_use_due,
    parse_token,
    sha256_of_secret,
)
from service.api.attempts import NO_TOKEN
from service.api.errors import RETRY, answer
from service.api.known_reports import Reporting
from service.api.live_tokens import LiveTokens
from service.api.senders import Sender
from service.control_plane import ControlPlane
from service.problems import ProblemType
from service.reconciling.deletion import NotDeletedError
from service.reconciling.starter import sha256_of_token
from service.settings import Settings
from service.steady_clock import now_utc, wall_utc
from service.store.attempts import live_tokens
from service.store.tokens import (
    NoSuchTokenError,
    are_there_tokens,
    digests_of_live_tokens,
    find_token,
    note_use,
)

logger = logging.getLogger(__name__)

# Answered however busy the store is, which holds the tokens.
PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json"})
# What everyone's page is drawn with. Nothing else lies there that could ask who sends.
_ASSETS = re.compile(r"/ui/assets/[0-9a-f]{1,64}/[A-Za-z0-9._-]{1,64}")
# Answers to reports that are no fault of whoever sends them.
_NO_FAULTS = frozenset({409, 503})
# The number is left out where it is none that an attempt could have.
_REPORTS = re.compile(r"/jobs/([^/]+)/attempts/(?:([1-9][0-9]{0,8})|[^/]+)/events")
# Assumed: sooner a job that waits has hardly started.
_LATER = {"Retry-After": "60"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="alexnet"'}


def add_access_handlers(app: FastAPI) -> None:
    """Answer what access refuses with problem documents."""

    @app.exception_handler(UnidentifiedError)
    def unidentified(_request: Request, error: UnidentifiedError) -> Response:
        return answer(401, str(error), headers=_CHALLENGE, kind=ProblemType.NO_TOKEN)

    @app.exception_handler(ForbiddenError)
    def forbidden(_request: Request, error: ForbiddenError) -> Response:
        return answer(403, str(error), kind=ProblemType.NOT_ALLOWED)

    @app.exception_handler(QuotaExceededError)
    def over_quota(_request: Request, error: QuotaExceededError) -> Response:
        status, headers = (429, _LATER) if error.passes else (403, None)
        return answer(status, str(error), headers=headers, kind=ProblemType.OVER_QUOTA)

    @app.exception_handler(NoSlotError)
    def no_slot(_request: Request, error: NoSlotError) -> Response:
        status = 429 if error.is_own else 503
        return answer(status, str(error), headers=RETRY, kind=ProblemType.STREAMS_TAKEN)

    @app.exception_handler(NotDeletedError)
    def not_deleted(_request: Request, error: NotDeletedError) -> Response:
        logger.error("%s", error)
        return answer(503, str(error), headers=RETRY, kind=ProblemType.DISK_UNAVAILABLE)

    @app.exception_handler(NoSuchTokenError)
    def unknown_token(_request: Request, error: NoSuchTokenError) -> Response:
        return answer(404, str(error))


class AccessMiddleware:
    """Puts who asks, or why that is not known, into the request; refuses a flood.

    A token is one sender, and so is an address that sends without one. What claims to be a token
    counts as its address until the store knows it, so that tokens that are made up are not looked
    up without end; one that is valid is not held up by what others of its address send: where too
    much came from there, all tokens that are live are read at once, for whoever asks.
    Attempts report with tokens of their own, as often as they like: what others of their address
    send does not hold up one whose reports were taken before. Reports that are refused count by
    address, and beside all else that comes from there; where too many were, attempts are told by
    their tokens and let in: what is refused of one counts as its own too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        plane: ControlPlane,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._plane = plane
        self._clock = clock
        self._may_be_open = plane.settings.may_be_open
        self._limiter = RateLimiter(_rate(plane.settings))
        self._valid = ValidTokens()
        self._reporting = ValidTokens()
        """With the path that each reports to."""
        self._live = LiveTokens(plane.store, lambda one: digests_of_live_tokens(one, wall_utc()))
        self._live_of_attempts = LiveTokens(plane.store, live_tokens)
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        """When the use of each token was last written down, or tried to be."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or _is_public(scope["path"]):
            await self._app(scope, receive, send)
        elif found := _REPORTS.fullmatch(scope["path"]):
            reporting = None if found[2] is None else Reporting(found[1], int(found[2]))
            await self._take_report(reporting, scope, receive, send)
        else:
            await self._take(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        credentials = _credentials(scope)
        sent, address = credentials.token or "", sender_of(credentials.address)
        sender = self._valid.id_of(sent) or address
        wait_s = self._limiter.take(sender, self._clock())
        if wait_s and sender == address:
            live_id = await self._live_id_of(sent)
            if live_id is not None:
                sender = live_id
                wait_s = self._limiter.take(sender, self._clock())
                self._valid.note(sent, live_id)
        if not wait_s:
            identity, known = await self._identify(credentials)
            if known is None:
                if isinstance(identity, UnidentifiedError):
                    self._valid.forget(sent)
                    if sender != address:
                        # It was one lately; now it counts as any that is made up.
                        wait_s = self._limiter.take(address, self._clock())
            elif sender != known.id:
                self._valid.note(sent, known.id)
                self._limiter.give_back(address, self._clock())
                sender = known.id
                wait_s = self._limiter.take(sender, self._clock())
        if wait_s:
            await self._refuse(wait_s)(scope, receive, send)
            return

        async def identify() -> Caller | Exception:
            return (await self._identify(credentials))[0]

        state = scope.setdefault("state", {})
        key = None if known is None else known.id
        state["identity"], state["sender"] = identity, Sender(key=key, identify=identify)
        await self._app(scope, receive, send)
        if known is not None:
            await self._note_use(known)

    async def _live_id_of(self, sent: str) -> str | None:
        """Return the id of a token that is live, or lately was; None: it is not known to be."""
        token = parse_token(sent)
        if token is None or not await self._live.is_of(token.id, sha256_of_secret(token.secret)):
            return None
        return token.id

    async def _identify(
        self, credentials: Credentials
    ) -> tuple[Caller | Exception, TokenRecord | None]:
        """Return who asks, or why that is not known, and the token that tells so, if one does."""
        try:
            found, is_open = await run_in_threadpool(self._look_up, credentials.token_id)
            caller = identify(credentials, found, is_open=is_open, now=wall_utc())
        except Exception as error:  # noqa: BLE001  # raised again where handlers answer it
            return error, None
        return caller, None if caller.token_id is None else found

    async def _take_report(
        self, reporting: Reporting | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        credentials, path = _credentials(scope), scope["path"]
        sent = credentials.bearer
        sender = f"reports {sender_of(credentials.address)}"
        is_known = sent is not None and self._reporting.id_of(sent) == path
        counted = [sender]
        wait_s = 0.0 if is_known else self._limiter.wait_s(sender, self._clock())
        if wait_s:
            own = f"reports to {path}"
            is_let_in = (
                sent is not None
                and reporting is not None
                and not self._limiter.wait_s(own, self._clock())
                and await self._live_of_attempts.is_of(reporting, sha256_of_token(sent))
            )
            if not is_let_in:
                await self._refuse(wait_s)(scope, receive, send)
                return
            counted.append(own)
        if sent is None:
            # Before a body is read.
            self._limiter.take(sender, self._clock())
            status, detail, headers = NO_TOKEN
            await answer(status, detail, headers=headers)(scope, receive, send)
            return

        scope.setdefault("state", {})["reporting"] = reporting if is_known else None

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                if status < 400:
                    self._reporting.note(sent, path)
                elif status not in _NO_FAULTS:
                    self._reporting.forget(sent)
                    for one in counted:
                        self._limiter.take(one, self._clock())
            await send(message)

        await self._app(scope, receive, count)

    def _look_up(self, token_id: str | None) -> tuple[TokenRecord | None, bool]:
        """Return what is known of a token, and whether none is asked for."""
        if token_id is not None:
            known = self._plane.store.read_at_once(
                lambda connection: find_token(connection, token_id)
            )
            if known is not None:
                return known, False
        return None, self._may_be_open and not self._plane.store.read_at_once(are_there_tokens)

    async def _note_use(self, token: TokenRecord) -> None:
        """Write down now and then that the token is in use; whoever sent it has its answer."""
        now = now_utc()
        last = self._noted.get(token.id)
        is_due = is_use_due(token, now) and (last is None or now - last >= USED_AT_PRECISION)
        if not is_due or not self._plane.is_leader:
            return
        remember(self._noted, token.id, now)
        try:
            await run_in_threadpool(
                self._plane.store.write, lambda connection: note_use(connection, token.id, now)
            )
        except Exception as error:  # noqa: BLE001  # nobody hangs on it; it is tried again
            logger.warning("the use of token %s could not be written down: %s", token.id, error)

    def _refuse(self, wait_s: float) -> Response:
        settings = self._plane.settings
        detail = (
            f"too many requests: {settings.requests_per_second:g} a second are taken of one "
            f"sender, and {settings.request_burst} at once after a pause; wait, or have the "
            "operator raise ALEXNET_REQUESTS_PER_SECOND"
        )
        return answer(429, detail, headers={"Retry-After": str(math.ceil(wait_s))})


def _is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or _ASSETS.fullmatch(path) is not None


def _rate(settings: Settings) -> Rate | None:
    if settings.requests_per_second is None:
        return None
    return Rate(per_second=settings.requests_per_second, burst=settings.request_burst)


def _credentials(scope: Scope) -> Credentials:
    client = scope.get("client")
    return Credentials(
        method=scope["method"],
        headers=Headers(scope=scope),
        address=None if client is None else client[0],
        scheme=scope.get("scheme", "http"),
    )
