"""A service that goes by the machine's clock in all that it does: what trials must notice."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from service.reconciling.leadership import Leadership
from service.steady_clock import SteadyClock
from tests.faults.jumping_clock import run

_init: Callable[..., None] = Leadership.__init__


def _by_the_wall(leadership: Leadership, *arguments: Any, **options: Any) -> None:
    _init(leadership, *arguments, **options, clock=time.time)


def _now(_clock: SteadyClock) -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    Leadership.__init__ = _by_the_wall  # type: ignore[method-assign, assignment]
    SteadyClock.now = _now  # type: ignore[method-assign, assignment]
    sys.exit(run())
