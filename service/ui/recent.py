"""What many pages ask for at once, read for all of them by whoever comes first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from service.api.remembered import outcome_of

Value = TypeVar("Value")

# Assumed: longer than a store that is away keeps a read waiting.
_STANDS_IN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class _Outcome(Generic[Value]):
    ended_s: float
    again: Callable[[], Value]
    """Returns what was read, or raises what reading it raised."""


class Recent(Generic[Value]):
    """Remembers for a while what was read, an error too; from any thread, and one reads at a time.

    Who comes while another reads has what was read before, unless that is old.
    """

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
        self._known: _Outcome[Value] | None = None

    def get(self) -> Value:
        """Return what was read so long ago at most, or raise what reading it raised."""
        known = self._younger_than(self._for_s)
        return (known or self._renewed()).again()

    def _renewed(self) -> _Outcome[Value]:
        stand_in = self._younger_than(self._for_s + _STANDS_IN_S)
        if stand_in is None:
            self._lock.acquire()
        elif not self._lock.acquire(blocking=False):
            # Threads that wait for a store that is away would be lacking elsewhere.
            return stand_in
        try:
            known = self._younger_than(self._for_s)
            if known is None:
                again = outcome_of(self._read)
                # Not before the read: one that takes long would be over age at once.
                known = self._known = _Outcome(ended_s=self._clock(), again=again)
            return known
        finally:
            self._lock.release()

    def _younger_than(self, age_s: float) -> _Outcome[Value] | None:
        known = self._known
        return known if known is not None and self._clock() - known.ended_s < age_s else None
