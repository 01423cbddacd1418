"""Sends one message to a webhook: to an address that was checked, and not for long."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
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
# Of a host's addresses so many are tried, so that each is given a while; assumed: enough.
MAX_ADDRESSES = 4


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message on its way."""

    webhook: Webhook
    message_id: str
    event: str
    body: bytes


async def checked_addresses(
    url: str, allowed: Sequence[Network], asker: str | None
) -> tuple[Target, tuple[Address, ...]]:
    """Return where a URL leads now; `asker` is the owner on whose behalf it is looked up.

    Raises AddressRefusedError where nothing may be sent there, or ResolverBusyError.
    """
    target = parse_url(url)
    addresses = await resolve(target, asker)
    check_addresses(target, addresses, allowed)
    return target, addresses


async def send(letter: Letter, allowed: Sequence[Network], now: datetime) -> Try:
    """Send a message, and say what came of it; raises nothing that a receiver could cause.

    Raises ResolverBusyError: it was not tried. Only the status of an answer is read: what else a
    receiver says is of no use, and would tell whoever registered it what its network answers.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            delivered, detail = await _send(letter, allowed)
    except TimeoutError:
        delivered, detail = False, f"there was no answer within {TIMEOUT_S:g} s"
    except (AddressRefusedError, _CertificatesError) as error:
        delivered, detail = False, str(error)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        delivered, detail = False, _reason(error)
    return Try(
        at=now,
        message_id=letter.message_id,
        event=letter.event,
        delivered=delivered,
        detail=detail,
    )


class _CertificatesError(Exception):
    """Whom to trust is not known."""


async def _send(letter: Letter, allowed: Sequence[Network]) -> tuple[bool, str]:
    # At each try anew: a name may stand for another address than it did when it was registered.
    target, addresses = await checked_addresses(
        letter.webhook.url, allowed, asker=letter.webhook.owner
    )
    # By the machine's clock, jumps and all: receivers compare it with theirs.
    sent_at = datetime.now(UTC)
    headers = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "User-Agent": f"alexnet/{version('alexnet-training-service')}",
        **signed_headers(letter.webhook.secret, letter.message_id, sent_at, letter.body),
    }
    *others, last = addresses[:MAX_ADDRESSES]
    # One at which nobody answers leaves time for the next, and for the answer of the last.
    timeout = httpx.Timeout(None, connect=TIMEOUT_S / (len(others) + 2))
    # No client, which would look at redirects and cookies, and no proxy of the environment, which
    # would resolve the name again.
    async with httpx.AsyncHTTPTransport(verify=_certificates(), trust_env=False) as transport:
        for address in (*others, last):
            request = httpx.Request(
                "POST",
                target.url_at(address),
                content=letter.body,
                headers=headers,
                # The certificate is the name's, not the address's.
                extensions={"sni_hostname": target.host, "timeout": timeout.as_dict()},
            )
            try:
                answer = await transport.handle_async_request(request)
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


def _reason(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    match error:
        case httpx.ConnectTimeout():
            return "no connection: nothing answers at its address"
        case httpx.ConnectError():
            return f"no connection: {error}"
        case httpx.RemoteProtocolError():
            # Not what it said: whoever registers a webhook would read what other servers say.
            return "it did not answer in HTTP"
        case httpx.TransportError():
            return f"the connection broke off: {str(error) or type(error).__name__}"
    return str(error)


def _certificates() -> SSLContext:
    # Those of SSL_CERT_FILE or SSL_CERT_DIR, where set, as for any client.
    file = os.environ.get("SSL_CERT_FILE")
    try:
        return _read_certificates(file and Path(file).stat().st_mtime_ns, file)
    except OSError as error:
        raise _CertificatesError(f"SSL_CERT_FILE cannot be used: {error}") from error


@lru_cache(maxsize=1)
def _read_certificates(_changed_at: object, _file: str | None) -> SSLContext:
    """Read them again where the file is another, or has changed."""
    return httpx.create_ssl_context()
