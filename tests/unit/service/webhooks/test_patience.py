from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.patience import (
    FIRST_WAIT,
    GIVE_UP_AFTER,
    LONGEST_WAIT,
    next_try,
    wait_after,
)

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
drawn = st.floats(0, 1, exclude_max=True)


@given(num_tries=st.integers(1, 10**9), draw=drawn)
def test_a_wait_lies_between_half_the_whole_and_the_whole(num_tries: int, draw: float) -> None:
    whole = wait_after(num_tries, 1.0)
    assert FIRST_WAIT <= whole <= LONGEST_WAIT
    assert whole / 2 <= wait_after(num_tries, draw) <= whole


@given(num_tries=st.integers(1, 1000))
def test_the_whole_wait_doubles_up_to_the_longest(num_tries: int) -> None:
    assert wait_after(num_tries + 1, 1.0) == min(2 * wait_after(num_tries, 1.0), LONGEST_WAIT)


@given(draws=st.lists(drawn, min_size=1, max_size=50), late=st.floats(0, 200))
def test_every_delivery_is_tried_a_while_and_then_given_up(draws: list[float], late: float) -> None:
    """`late`: hours for which it waited for its first try, behind others of its job."""
    now, num_tries = CREATED_AT + timedelta(hours=late), 1
    while True:
        at = next_try(CREATED_AT, num_tries, now, draws[num_tries % len(draws)])
        if at is None:
            break
        assert now < at <= CREATED_AT + GIVE_UP_AFTER
        now, num_tries = at, num_tries + 1
    # Never without end, and where there was time for it not before the time is all but over.
    assert num_tries < 70
    assert now + LONGEST_WAIT > CREATED_AT + GIVE_UP_AFTER
