"""How many requests one sender may make: a token bucket each, in memory."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from service.access.tokens import sha256_of_secret

# Beyond so many senders the one unheard of for longest is forgotten: it is likeliest to be full.
MAX_SENDERS = 10_000

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a sender may do."""

    per_second: float
    burst: int
    """So many at once after a pause."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """What is left to one sender."""

    level: float
    """Requests that it may make at once."""
    at_s: float


def refill(bucket: Bucket, rate: Rate, now_s: float) -> Bucket:
    """Return the bucket as it is by now, which is no earlier than it was looked at. Pure."""
    gained = (now_s - bucket.at_s) * rate.per_second
    return Bucket(level=min(bucket.level + gained, float(rate.burst)), at_s=now_s)


def wait_s(bucket: Bucket, rate: Rate) -> float:
    """How long until another request may be made; 0: at once. Pure."""
    return max(1.0 - bucket.level, 0.0) / rate.per_second


class RateLimiter:
    """Counts the requests of every sender. For one event loop alone."""

    def __init__(self, rate: Rate | None) -> None:
        """Limit to `rate`; None: to nothing."""
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, sender: str, now_s: float) -> float:
        """Count a request, and return 0; or how many seconds the sender must wait, and do not."""
        if self._rate is None:
            return 0.0
        bucket = self._bucket(sender, self._rate, now_s)
        wait = wait_s(bucket, self._rate)
        if not wait:
            bucket = Bucket(level=bucket.level - 1.0, at_s=now_s)
        remember(self._buckets, sender, bucket)
        return wait

    def give_back(self, sender: str, now_s: float) -> None:
        """Count a request less, which was another's."""
        if self._rate is not None:
            bucket = self._bucket(sender, self._rate, now_s)
            level = min(bucket.level + 1.0, float(self._rate.burst))
            remember(self._buckets, sender, Bucket(level=level, at_s=now_s))

    def wait_s(self, sender: str, now_s: float) -> float:
        """Return how long the sender must wait; counts nothing."""
        if self._rate is None:
            return 0.0
        return wait_s(self._bucket(sender, self._rate, now_s), self._rate)

    def _bucket(self, sender: str, rate: Rate, now_s: float) -> Bucket:
        known = self._buckets.get(sender)
        if known is None:
            return Bucket(level=float(rate.burst), at_s=now_s)
        return refill(known, rate, now_s)


class ValidTokens:
    """Ids of tokens that were valid when they were last looked up, by what was sent."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, str] = OrderedDict()

    def id_of(self, sent: str) -> str | None:
        """Return the id of a token that was valid; None: it is not known to be one."""
        digest = sha256_of_secret(sent)
        if digest not in self._ids:
            return None
        self._ids.move_to_end(digest)
        return self._ids[digest]

    def note(self, sent: str, token_id: str) -> None:
        """Note that a token is valid."""
        remember(self._ids, sha256_of_secret(sent), token_id)

    def forget(self, sent: str) -> None:
        """Note that a token is not."""
        self._ids.pop(sha256_of_secret(sent), None)


def remember(entries: OrderedDict[str, Value], key: str, value: Value) -> None:
    """Put an entry last; beyond MAX_SENDERS the first are forgotten."""
    entries[key] = value
    entries.move_to_end(key)
    while len(entries) > MAX_SENDERS:
        entries.popitem(last=False)


def sender_of(address: str | None) -> str:
    """Return who is counted as one sender: an IPv4 address, or the /64 of one of IPv6. Pure.

    An IPv4 address that a socket of IPv6 tells, as ::ffff:192.0.2.1, is that IPv4 address.
    """
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return str(address)
    # All of them would be of one /64.
    found = getattr(found, "ipv4_mapped", None) or found
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
