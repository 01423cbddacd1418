"""Waiting for a condition: never for a time that ought to be enough."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ANSWERED_WITHIN_S = 60.0
"""How long an answer over HTTP may take: a machine of two cores that runs tests is busy."""


def wait_for(
    what: str, probe: Callable[[], T | None], *, timeout_s: float, every_s: float = 0.05
) -> T:
    """Return the first truthy answer of `probe`.

    Raises AssertionError with `what`, and what was seen last, when none comes in `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        if seen := probe():
            return seen
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}; last seen: {seen!r}")
        time.sleep(every_s)
