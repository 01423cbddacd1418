"""What a host's name stands for at the moment."""

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError

from service.webhooks.address import Address, AddressRefusedError, Target

# A resolver that does not answer must keep no thread of ours waiting.
RESOLVE_TIMEOUT_S = 5.0
# Those who wait for one that hangs keep a thread each until the system gives up.
_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")


def resolve(target: Target) -> tuple[Address, ...]:
    """Return the addresses of a host, the system's favourite first; raise AddressRefusedError."""
    asked = _threads.submit(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
    try:
        found = asked.result(RESOLVE_TIMEOUT_S)
    except TooLateError:
        asked.cancel()
        raise AddressRefusedError(
            f"{target.host} could not be resolved within {RESOLVE_TIMEOUT_S:.0f} s"
        ) from None
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"{target.host} cannot be resolved: {error}") from error
    addresses = (ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found)
    return tuple(dict.fromkeys(addresses))
