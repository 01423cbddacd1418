"""Outages: which failures pass by themselves, and for how long they are borne."""

import math
import time

import httpx

from service.client.errors import ProblemError, ServiceUnreachableError
from service.problems import Problem, ProblemType

# A control plane that is started again is back well before this.
RECONNECT_FOR_S = 60.0
RECONNECT_PAUSE_S = 0.5
# What the service says while it cannot serve or has no slot, and a proxy while it is away.
_UNAVAILABLE = (429, 502, 503, 504)


class Outage:
    """The time for which a service has been away, if it is."""

    def __init__(self) -> None:
        self._since: float | None = None

    def end(self) -> None:
        """Note that the service has answered."""
        self._since = None

    def go_on(self, *, at_most_s: float = math.inf) -> bool:
        """Pause, `at_most_s` long, before another try; False: it has lasted too long for one."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > RECONNECT_FOR_S:
            return False
        time.sleep(min(RECONNECT_PAUSE_S, at_most_s))
        return True


def will_pass(error: ServiceUnreachableError | ProblemError) -> bool:
    """Whether the same may be answered a little later."""
    return not isinstance(error, ProblemError) or error.problem.status in _UNAVAILABLE


def may_have_arrived(error: ServiceUnreachableError | ProblemError) -> bool:
    """Whether what was sent may have been done although no answer says so."""
    if isinstance(error, ProblemError):
        return _leaves_open(error.problem)
    cause = error.__cause__
    is_absent = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
    return isinstance(cause, httpx.TransportError) and not is_absent


def _leaves_open(problem: Problem) -> bool:
    if problem.type in set(ProblemType):
        # The store can go away when it has committed already.
        return problem.type in {ProblemType.STORE_UNAVAILABLE, ProblemType.KEY_IN_USE}
    # A proxy's own word: what stands behind it may have died before its answer.
    return problem.status in {502, 503, 504}
