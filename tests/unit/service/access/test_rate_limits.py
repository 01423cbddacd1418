"""Token buckets: what they let through, over any times of asking."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.rate_limits import MAX_SENDERS, Rate, RateLimiter, ValidTokens, sender_of

rates = st.builds(
    Rate, per_second=st.sampled_from([0.5, 1.0, 3.0, 200.0]), burst=st.integers(1, 20)
)
gaps = st.lists(st.sampled_from([0.0, 0.001, 0.25, 0.5, 1.0, 7.0]), max_size=60)


@given(rate=rates, gaps=gaps)
def test_no_span_of_time_has_more_than_the_burst_and_what_accrues_in_it(
    rate: Rate, gaps: list[float]
) -> None:
    limiter = RateLimiter(rate)
    times = list(itertools.accumulate(gaps, initial=100.0))
    taken = [at for at in times if limiter.take("a", at) == 0]
    for first, last in itertools.combinations_with_replacement(range(len(taken)), 2):
        allowed = rate.burst + (taken[last] - taken[first]) * rate.per_second
        assert last - first + 1 <= allowed + 1e-6


@given(rate=rates, gaps=gaps)
def test_whoever_waits_as_long_as_told_is_let_through(rate: Rate, gaps: list[float]) -> None:
    limiter = RateLimiter(rate)
    now = 0.0
    for gap in gaps:
        now += gap
        wait = limiter.wait_s("a", now)
        assert limiter.take("a", now) == wait
        if wait:
            assert limiter.take("a", now + wait + 1e-9) == 0
            now += wait + 1e-9


def test_senders_do_not_share() -> None:
    limiter = RateLimiter(Rate(per_second=1.0, burst=1))
    assert limiter.take("a", 0.0) == 0
    assert limiter.take("a", 0.0) > 0
    assert limiter.take("b", 0.0) == 0


def test_senders_without_number_take_no_memory_without_bound() -> None:
    limiter = RateLimiter(Rate(per_second=1.0, burst=1))
    for number in range(MAX_SENDERS + 100):
        limiter.take(str(number), 0.0)
    assert len(limiter._buckets) == MAX_SENDERS
    # Those that were heard of last are still known.
    assert limiter.take(str(MAX_SENDERS + 99), 0.0) > 0


def test_what_is_given_back_takes_no_memory_without_bound_either() -> None:
    limiter = RateLimiter(Rate(per_second=1.0, burst=1))
    for number in range(MAX_SENDERS + 100):
        limiter.give_back(str(number), 0.0)
    assert len(limiter._buckets) == MAX_SENDERS


@given(rate=rates, gaps=gaps)
def test_a_request_that_is_given_back_was_none(rate: Rate, gaps: list[float]) -> None:
    limiter, other = RateLimiter(rate), RateLimiter(rate)
    for now in itertools.accumulate(gaps, initial=100.0):
        if limiter.take("a", now) == 0:
            limiter.give_back("a", now)
        wait = limiter.take("a", now)
        assert wait == pytest.approx(other.take("a", now))


def test_valid_tokens_are_known_until_they_are_forgotten_or_too_many() -> None:
    valid = ValidTokens()
    valid.note("sent", "id")
    assert valid.id_of("sent") == "id"
    valid.forget("sent")
    assert valid.id_of("sent") is None
    for number in range(MAX_SENDERS + 1):
        valid.note(f"sent {number}", f"id {number}")
        # It is asked for all the while.
        assert valid.id_of("sent 0") == "id 0"
    assert valid.id_of("sent 1") is None


def test_what_is_kept_of_valid_tokens_is_none() -> None:
    valid = ValidTokens()
    valid.note("secret", "id")
    assert "secret" not in repr(vars(valid))


def test_without_a_rate_nothing_is_refused() -> None:
    limiter = RateLimiter(None)
    assert all(limiter.take("a", 0.0) == 0 for _ in range(100))
    assert limiter.wait_s("a", 0.0) == 0


def test_a_network_of_ipv6_is_one_sender() -> None:
    assert sender_of("2001:db8::1") == sender_of("2001:db8::ffff:2")
    assert sender_of("2001:db8::1") != sender_of("2001:db8:0:1::1")
    assert sender_of("10.0.0.1") != sender_of("10.0.0.2")
    assert sender_of("::ffff:10.0.0.1") != sender_of("::ffff:10.0.0.2")
    assert sender_of("::ffff:10.0.0.1") == sender_of("10.0.0.1")
    assert sender_of("a name") != sender_of(None)
