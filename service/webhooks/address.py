"""Where webhooks may be sent: nowhere within the service's own network, unless that is allowed."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARACTERS = 2000
# Addresses of IPv4 within others: mapped, 6to4's and Teredo's are told by `ipaddress`.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# All that is given to anybody (RFC 4291, section 2.4); what else `ipaddress` takes for global is
# old, local or translated.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
# Interfaces of ISATAP (RFC 5214, section 6.1), which lead to the address of IPv4 behind them.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
# Global by its number, and answers every machine of Azure with what is secret there.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
_PORTS = {"http": 80, "https": 443}


class AddressRefusedError(ValueError):
    """Nothing is sent there; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL, taken apart."""

    scheme: str
    host: str
    """Without brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def netloc(self) -> str:
        """Host and, where it is not the scheme's, port: for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def url_at(self, address: Address) -> str:
        """Return the URL with an address in place of the host."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_url(url: str) -> Target:
    """Take a URL apart; raise AddressRefusedError where nothing can be sent there by it."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefusedError(
            f"this is no URL: write one of at most {MAX_URL_CHARACTERS} ASCII characters, with "
            "whatever else percent-encoded"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefusedError(f"this is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise AddressRefusedError("write https://HOST/PATH, or http://127.0.0.1:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise AddressRefusedError(
            "a URL with a user or password is shown to whoever may see it; leave them out and "
            "verify the signature instead"
        )
    if parts.fragment:
        raise AddressRefusedError("what follows the # is never sent; leave it out")
    if port == 0:
        raise AddressRefusedError("there is no port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        scheme=parts.scheme, host=parts.hostname, port=port or _PORTS[parts.scheme], path=path
    )


def check_addresses(
    target: Target, addresses: Sequence[Address], allowed: Iterable[Network]
) -> None:
    """Raise AddressRefusedError where one of what a host resolves to may not be sent anything.

    All are checked and not only the first: which one is first may change between two looks.
    """
    networks = tuple(allowed)
    for address in map(_innermost, addresses):
        if any(address in network for network in networks):
            if target.scheme == "https" or address.is_loopback:
                continue
            raise AddressRefusedError(
                f"{_named(target, address)} is another machine, and what is sent there by http can "
                "be read on its way; use https"
            )
        if not _is_public(address):
            raise AddressRefusedError(
                f"{_named(target, address)} is within the service's own network; have the operator "
                f"allow it by ALEXNET_WEBHOOK_NETWORKS='[\"{address}\"]', or use a public address"
            )
        if target.scheme != "https":
            raise AddressRefusedError(
                f"{target.host} is reached by networks of others, who can read http; use https"
            )


def _named(target: Target, address: Address) -> str:
    return target.host if target.host == str(address) else f"{target.host} ({address})"


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address in _METADATA:
        return False
    if isinstance(address, IPv4Address):
        return True
    interface = (int(address) >> 32) & 0xFFFF_FFFF
    return address in _GLOBAL_UNICAST and address not in _DOCUMENTATION and interface not in _ISATAP


def _innermost(address: Address) -> Address:
    """Return the address of IPv4 that one of IPv6 leads to, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
