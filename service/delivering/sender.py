"""Sends one message to a webhook: to an address that was checked, and not for long."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from ssl import SSLContext

import httpx

from service.delivering.resolving import resolve
from service.webhooks.address import (
    Address,
    AddressRefusedError,
    Network,
    Target,
    check_addresses,
    parse_url,
)
from service.webhooks.records import Try, Webhook
from service.webhooks.signing import signed_headers

# All in all, from the first look at the address; assumed: who only takes note answers within it.
TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message on its way."""

    webhook: Webhook
    message_id: str
    event: str
    body: bytes


def checked_addresses(url: str, allowed: Sequence[Network]) -> tuple[Target, tuple[Address, ...]]:
    """Return where a URL leads now. Raises AddressRefusedError where nothing may be sent there."""
    target = parse_url(url)
    addresses = resolve(target)
    check_addresses(target, addresses, allowed)
    return target, addresses


async def send(letter: Letter, allowed: Sequence[Network], now: datetime) -> Try:
    """Send a message, and say what came of it; raises nothing that a receiver could cause.

    Only the status of an answer is read: what else a receiver says is of no use, and would tell
    whoever registered it what its network answers.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            delivered, detail = await _send(letter, allowed)
    except TimeoutError:
        delivered, detail = False, f"there was no answer within {TIMEOUT_S:g} s"
    except AddressRefusedError as error:
        delivered, detail = False, str(error)
    except httpx.HTTPError as error:
        delivered, detail = False, _reason(error)
    return Try(
        at=now,
        message_id=letter.message_id,
        event=letter.event,
        delivered=delivered,
        detail=detail,
    )


async def _send(letter: Letter, allowed: Sequence[Network]) -> tuple[bool, str]:
    # At each try anew: a name may stand for another address than it did when it was registered.
    target, addresses = await asyncio.to_thread(checked_addresses, letter.webhook.url, allowed)
    # By the machine's clock, jumps and all: receivers compare it with theirs.
    sent_at = datetime.now(UTC)
    headers = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "User-Agent": f"alexnet/{version('alexnet-training-service')}",
        **signed_headers(letter.webhook.secret, letter.message_id, sent_at, letter.body),
    }
    # No proxy of the environment, which would resolve the name again; no redirect is followed.
    async with httpx.AsyncClient(
        verify=_certificates(), trust_env=False, timeout=TIMEOUT_S
    ) as client:
        *others, last = addresses
        for address in (*others, last):
            request = client.build_request(
                "POST",
                target.url_at(address),
                content=letter.body,
                headers=headers,
                # The certificate is the name's, not the address's.
                extensions={"sni_hostname": target.host},
            )
            try:
                answer = await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == last:
                    raise
                continue
            await answer.aclose()
            return answer.is_success, _told(answer.status_code)
    raise AssertionError("a name that is resolved has an address")


def _told(status: int) -> str:
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed; register where it leads"
    return f"answered {status}"


def _reason(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectError():
            return f"no connection: {error}"
        case httpx.TransportError():
            return f"the connection broke off: {error or type(error).__name__}"
    return str(error)


@cache
def _certificates() -> SSLContext:
    # Those of SSL_CERT_FILE or SSL_CERT_DIR, where set, as for any client.
    return httpx.create_ssl_context()
