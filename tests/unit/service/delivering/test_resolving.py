"""Looking names up where the resolver hangs: a double of it, in the place of the system's."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from service.delivering import resolving
from service.delivering.resolving import MAX_AT_ONCE, MAX_OF_EACH, ResolverBusyError, resolve
from service.webhooks.address import AddressRefusedError, parse_url
from tests.unit.service.conftest import wait_until


class Resolver:
    """Knows every name that does not begin with `hangs`; on those it waits."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.release = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        """As the system's."""
        self.asked[host] += 1
        if host.startswith("hangs"):
            self.release.wait(30)
        if host == "unknown":
            raise socket.gaierror("no such name")
        numbers = ("93.184.216.34", "fe80::1%eth0", "93.184.216.34")
        return [(None, None, None, "", (number, port)) for number in numbers]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    double = Resolver()
    monkeypatch.setattr("service.delivering.resolving.socket.getaddrinfo", double.getaddrinfo)
    monkeypatch.setattr(resolving, "RESOLVE_TIMEOUT_S", 0.05)
    yield double
    double.release.set()
    wait_until(lambda: not resolving._under_way)


def found(host: str, asker: str | None = "ann") -> Any:
    return asyncio.run(resolve(parse_url(f"https://{host}"), asker))


def hang(host: str, asker: str | None) -> None:
    with pytest.raises(AddressRefusedError, match="could not be resolved within"):
        found(host, asker)


def test_each_address_is_told_once_in_the_systems_order(resolver: Resolver) -> None:
    assert found("known") == (ip_address("93.184.216.34"), ip_address("fe80::1"))
    with pytest.raises(AddressRefusedError, match="unknown cannot be resolved: no such name"):
        found("unknown")


def test_one_owner_whose_names_hang_leaves_others_theirs(resolver: Resolver) -> None:
    for number in range(MAX_OF_EACH):
        hang(f"hangs{number}", "eve")
    with pytest.raises(ResolverBusyError):
        found("known", "eve")
    assert found("known", "ann")
    resolver.release.set()
    wait_until(lambda: not resolving._under_way)
    assert found("known", "eve")


def test_of_all_owners_so_many_at_once(resolver: Resolver) -> None:
    for number in range(MAX_AT_ONCE):
        hang(f"hangs{number}", f"owner{number}")
    with pytest.raises(ResolverBusyError):
        found("known")


def test_a_name_that_hangs_is_asked_for_once_however_many_wait(resolver: Resolver) -> None:
    for _ in range(MAX_OF_EACH + 1):
        hang("hangs", "ann")
    assert resolver.asked == {"hangs": 1}
    assert found("known")


def test_the_process_ends_while_the_system_still_looks() -> None:
    program = """
import asyncio, threading
from service.delivering import resolving
from service.webhooks.address import AddressRefusedError, parse_url
resolving.socket.getaddrinfo = lambda *_, **__: threading.Event().wait(60)
resolving.RESOLVE_TIMEOUT_S = 0.05
try:
    asyncio.run(resolving.resolve(parse_url("https://hangs"), None))
except AddressRefusedError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "refused\n"
