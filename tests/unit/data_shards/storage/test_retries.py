import itertools

from hypothesis import given
from hypothesis import strategies as st

from data_shards.storage.retries import DEFAULT_POLICY, RetryPolicy


@given(
    st.integers(1, 12),
    st.floats(0, 5, allow_subnormal=False),
    st.floats(0, 60, allow_subnormal=False),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=12, max_size=12),
)
def test_delays_double_to_the_longest_and_lose_up_to_half(
    tries: int, first_s: float, longest_s: float, draws: list[float]
) -> None:
    delays = RetryPolicy(tries, first_s, longest_s).delays(iter(draws).__next__)
    assert len(delays) == tries - 1
    full = first_s
    for delay in delays:
        assert min(full, longest_s) / 2 <= delay <= min(full, longest_s)
        full += full


def test_two_readers_do_not_come_back_at_once() -> None:
    assert DEFAULT_POLICY.delays() != DEFAULT_POLICY.delays()
    assert all(a <= b for a, b in itertools.pairwise(DEFAULT_POLICY.delays(lambda: 0.5)))
