"""When a delivery that failed is tried again, and when it is given up. Pure."""

from datetime import datetime, timedelta

# A receiver that is deployed anew is back within a minute; one that is broken is mended by people.
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
# So long after it happened nothing is tried any more: over a day's outage nothing is lost.
GIVE_UP_AFTER = timedelta(hours=24)
# A wait is this part of its whole at least, so that what failed together does not come back so.
_LEAST = 0.5


def wait_after(num_tries: int, drawn: float) -> timedelta:
    """Return the wait after so many tries that failed, at least one; `drawn` is from [0, 1).

    The whole wait doubles with each try, up to the longest; what is drawn takes up to half off it.
    """
    # 2^20 times the first wait is beyond the longest; more doublings would only overflow.
    whole = min(FIRST_WAIT * 2.0 ** min(num_tries - 1, 20), LONGEST_WAIT)
    return whole * (_LEAST + (1 - _LEAST) * drawn)


def next_try(created_at: datetime, num_tries: int, now: datetime, drawn: float) -> datetime | None:
    """Return when to try again after so many tries, the last just now; None: give it up."""
    at = now + wait_after(num_tries, drawn)
    return None if at > created_at + GIVE_UP_AFTER else at
