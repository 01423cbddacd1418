from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.service.bare_loop import Round, figures, rate_of


@given(
    rate=st.floats(0.5, 200),
    growths=st.lists(st.integers(1, 5), min_size=2, max_size=50),
    began=st.floats(0, 1e4),
)
def test_an_even_pace_is_told_however_it_was_seen(
    rate: float, growths: list[int], began: float
) -> None:
    # The first growth may hold lines that were made long before.
    times = [began + (lines - growths[0]) / rate for lines in accumulate(growths)]
    assert rate_of(list(zip(times, growths, strict=True))) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("growths", [[], [(1.0, 7)]])
def test_a_turn_in_which_nothing_moved_has_no_rate(growths: list[tuple[float, int]]) -> None:
    with pytest.raises(RuntimeError, match=f"steps were seen {len(growths)} times"):
        rate_of(growths)


def test_the_ratio_is_the_median_of_those_of_rounds() -> None:
    # A machine that slows down for both at times: the ratio of the medians would be .983.
    rounds = [Round(100, 99), Round(10, 9), Round(50, 50), Round(60, 59), Round(80, 79.8)]
    values = {figure.name: figure.value for figure in figures(rounds, num_threads=1)}
    assert values["service_to_bare_ratio"] == pytest.approx(0.99)
    assert values["bare_images_per_second"] == 60
    assert values["service_to_bare_low_quartile"] <= values["service_to_bare_ratio"]  # type: ignore[operator]


def test_one_round_has_no_spread() -> None:
    values = {figure.name: figure.value for figure in figures([Round(100, 90)], num_threads=1)}
    quartiles = [values[f"service_to_bare_{which}_quartile"] for which in ("low", "high")]
    assert quartiles == [values["service_to_bare_ratio"]] * 2 == [0.9] * 2


def test_only_the_threads_of_a_job_that_asks_for_none_are_held_to_the_target() -> None:
    told = {figure.name: figure.target for figure in figures([Round(100, 90)], num_threads=2)}
    assert told["service_to_bare_ratio_2_threads"] is None
    assert "service_to_bare_ratio" not in told
