"""Gives back the placement groups that Ray forgot to take from attempts which have ended.

A driver may be killed just while it asks for its devices. Ray then reserves them after it has
cleaned up behind the driver, for nobody and for good (seen once in 160 kills, ray 2.60).
"""

import logging
from collections.abc import Callable
from typing import Protocol

from service.cluster.submission import LeftGroup, Origin
from service.store.store import Store

logger = logging.getLogger(__name__)

# Ray cleans up within seconds.
GRACE_S = 30.0


class Ray(Protocol):
    """What is asked of a cluster."""

    def left_groups(self) -> list[LeftGroup]:
        """Return the placement groups of submissions that have ended."""

    def submit(self, submission_id: str, command: list[str], origin: Origin | None) -> None:
        """Start a driver, unless it exists already."""

    def forget(self, submission_id: str) -> None:
        """Have Ray forget a driver that has ended."""


class LeftGroups:
    """Those of this store's attempts, and since when they are left. No other's are touched."""

    def __init__(self, store: Store, python: str, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self._store = store
        self._python = python
        self._monotonic = monotonic
        self._since_s: dict[str, float] = {}
        self._asked: set[str] = set()

    def release(self, ray: Ray) -> None:
        """Have those removed that are left for long, and again if that had no effect."""
        left = [one for one in ray.left_groups() if self._is_ours(one)]
        gone = self._asked - {one.id for one in left}
        for group in gone:
            ray.forget(_name(group))
        self._asked -= gone
        now_s = self._monotonic()
        self._since_s = {one.id: self._since_s.get(one.id, now_s) for one in left}
        for one in left:
            if now_s - self._since_s[one.id] >= GRACE_S:
                self._remove(one, ray)
                self._since_s[one.id] = now_s

    def _remove(self, left: LeftGroup, ray: Ray) -> None:
        logger.warning(
            "Ray holds on to what %s had: placement group %s is removed",
            left.submission.id,
            left.id,
        )
        # Whoever has another fence by now does it.
        self._store.check_fence()
        if left.id in self._asked:
            ray.forget(_name(left.id))
        # Ray's REST API removes none; a driver does.
        command = [self._python, "-m", "trainer", "release", left.id]
        ray.submit(_name(left.id), command, None)
        self._asked.add(left.id)

    def _is_ours(self, left: LeftGroup) -> bool:
        origin = left.submission.origin
        return origin is not None and origin.store_id == self._store.id


def _name(group: str) -> str:
    return f"release-{group}"
