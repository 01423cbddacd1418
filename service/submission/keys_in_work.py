"""The idempotency keys that requests of this process hold, until each has come to its end."""

from collections.abc import Iterator
from contextlib import contextmanager


class KeysInWork:
    """Whose reservations are in work here; for many threads."""

    def __init__(self) -> None:
        self._holders: set[str] = set()

    @contextmanager
    def holding(self, holder: str) -> Iterator[None]:
        """Have a reservation count as in work until the block ends, however it does."""
        self._holders.add(holder)
        try:
            yield
        finally:
            self._holders.discard(holder)

    def __contains__(self, holder: object) -> bool:
        """Say whether the request that made this reservation is still in work."""
        return holder in self._holders
