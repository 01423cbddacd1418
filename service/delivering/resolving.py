"""What a host's name stands for at the moment."""

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import Future

from service.webhooks.address import Address, AddressRefusedError, Target

RESOLVE_TIMEOUT_S = 5.0
# A look-up that hangs keeps its thread until the system gives up, long after whoever waited for it.
MAX_AT_ONCE = 32
# Of one owner, so that one whose names hang leaves the others theirs.
MAX_OF_EACH = 8


class ResolverBusyError(Exception):
    """As many names are being looked up as may be; nothing is known of this one."""


_lock = threading.Lock()
_under_way: dict[tuple[str, int], tuple[str | None, Future[list[str]]]] = {}
"""By host and port: the owner who asked first, and what is found."""


async def resolve(target: Target, asker: str | None) -> tuple[Address, ...]:
    """Return the addresses of a host, the system's favourite first.

    `asker` is the owner on whose behalf it is. Raises AddressRefusedError, or ResolverBusyError.
    """
    found = asyncio.wrap_future(_asked(target, asker))
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            names = await found
    except TimeoutError:
        raise AddressRefusedError(
            f"{target.host} could not be resolved within {RESOLVE_TIMEOUT_S:.0f} s"
        ) from None
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"{target.host} cannot be resolved: {error}") from error
    addresses = (ipaddress.ip_address(name.partition("%")[0]) for name in names)
    return tuple(dict.fromkeys(addresses))


def _asked(target: Target, asker: str | None) -> Future[list[str]]:
    """Have a name looked up, or join whoever waits for it already."""
    key = (target.host, target.port)
    with _lock:
        if key in _under_way:
            return _under_way[key][1]
        of_asker = sum(1 for owner, _ in _under_way.values() if owner == asker)
        if len(_under_way) >= MAX_AT_ONCE or of_asker >= MAX_OF_EACH:
            raise ResolverBusyError
        found: Future[list[str]] = Future()
        # Who waits no longer must not end it for those who do.
        found.set_running_or_notify_cancel()
        # A daemon, and of no pool: the process ends while the system still looks.
        thread = threading.Thread(target=_look_up, args=(key, found), name="resolve", daemon=True)
        thread.start()
        _under_way[key] = (asker, found)
    return found


def _look_up(key: tuple[str, int], found: Future[list[str]]) -> None:
    host, port = key
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001  # raised where it is waited for
        _end(key)
        found.set_exception(error)
    else:
        _end(key)
        found.set_result([str(one[4][0]) for one in answers])


def _end(key: tuple[str, int]) -> None:
    with _lock:
        del _under_way[key]
