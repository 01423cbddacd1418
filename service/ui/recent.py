"""What many pages ask for at once, read for all of them by whoever comes first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from service.api.remembered import outcome_of

State = TypeVar("State")
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


@dataclass(frozen=True, kw_only=True)
class _Reading(Generic[State, Value]):
    state: State
    ended_s: float
    value: Value


class RecentOf(Generic[State, Value]):
    """Remembers what was read of something in the state that it was in; from any thread.

    In that state it is read once, in those that follow no more often than every `for_s`, and in its
    last one at once. One reads at a time; who comes meanwhile has what was read before, however
    old, but in the last state.
    """

    def __init__(
        self,
        read: Callable[[State], Value],
        *,
        for_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._for_s = for_s
        self._clock = clock
        self._lock = Lock()
        self._known: _Reading[State, Value] | None = None

    def get(self, state: State, *, is_last: bool) -> Value:
        """Return what was read in the state, or in an earlier one if that is recent."""
        known = self._good(state, is_last=is_last)
        if known is not None:
            return known.value
        stand_in = None if is_last else self._known
        if stand_in is None:
            self._lock.acquire()
        elif not self._lock.acquire(blocking=False):
            return stand_in.value
        try:
            known = self._good(state, is_last=is_last)
            if known is None:
                value = self._read(state)
                known = _Reading(state=state, ended_s=self._clock(), value=value)
                self._known = known
            return known.value
        finally:
            self._lock.release()

    def _good(self, state: State, *, is_last: bool) -> _Reading[State, Value] | None:
        known = self._known
        if known is None or known.state == state:
            return known
        is_young = self._clock() - known.ended_s < self._for_s
        return known if is_young and not is_last else None
