"""Names a process so that others of its machine can tell that it is gone, and none other can."""

import os
import secrets
from pathlib import Path

from service.cluster.processes import start_of

_NAMESPACE = Path("/proc/self/ns/pid")


def new_holder() -> str:
    """Return a name for a holder in this process: unlike any other, also of this process."""
    pid = os.getpid()
    return f"{pid} {_NAMESPACE.readlink()} {start_of(pid)} {secrets.token_hex(4)}"


def pid_of(holder: str) -> str:
    """Return the number of its process, for people."""
    return holder.partition(" ")[0]


def is_gone(holder: str) -> bool:
    """Say whether that process has ended; False where this cannot be known from here."""
    try:
        pid, namespace, boot, tick, _ = holder.split(" ")
        number = int(pid)
    except ValueError:
        return False
    own = start_of(os.getpid())
    # Numbers tell of processes of the same boot and the same container alone.
    if own is None or own.split()[0] != boot or str(_NAMESPACE.readlink()) != namespace:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # It lives, as another user's.
        pass
    start = start_of(number)
    # None: /proc does not show it. Another start: the number is used again.
    return start is not None and start != f"{boot} {tick}"
