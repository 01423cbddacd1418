"""What many pages ask for at once, read for all of them by whoever comes first."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Remembers for a while what was read; from any thread, and one reads at a time."""

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        for_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._for_s = for_s
        self._clock = clock
        self._lock = Lock()
        self._known: tuple[float, Value] | None = None

    def get(self) -> Value:
        """Return what was read so long ago at most; raise what reading it raises."""
        with self._lock:
            now = self._clock()
            if self._known is None or now - self._known[0] >= self._for_s:
                self._known = now, self._read()
            return self._known[1]
