"""What is asked for by many at once, and read for all of them."""

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
from starlette.concurrency import run_in_threadpool

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """Reads in a thread, one reading at a time, and remembers what it gave, an error too."""

    def __init__(self, read: Callable[[], Value], *, for_s: float) -> None:
        self._read = read
        self._for_s = for_s
        self._lock = anyio.Lock()
        self._until_s = -math.inf
        self._again: Callable[[], Value] = read

    async def get(self) -> Value:
        """Return what was read so long ago at most, or raise what reading it raised."""
        async with self._lock:
            if time.monotonic() >= self._until_s:
                self._again = await run_in_threadpool(outcome_of, self._read)
                self._until_s = time.monotonic() + self._for_s
            return self._again()


def outcome_of(read: Callable[[], Value]) -> Callable[[], Value]:
    """Read, and return what gives the same again and again, or raises the same."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001  # raised to everyone who asked
        failure = error

        def fail() -> Value:
            raise failure.with_traceback(None)

        return fail
    return lambda: value
