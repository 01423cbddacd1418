import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.service.first_step import WAYS, Found, Times, figures, order_of, ratios_of

seconds = st.floats(0.01, 100)


def took(step_s: float) -> Times:
    return Times(driver_s=step_s / 4, replica_s=step_s / 2, step_s=step_s)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=5))
def test_ratios_are_of_the_medians_over_rounds(rounds: list[tuple[float, float, float]]) -> None:
    columns = zip(*rounds, strict=True)
    found: Found = dict(zip(WAYS, ([took(s) for s in column] for column in columns), strict=True))
    by_hand, cold, warm = (statistics.median(column) for column in zip(*rounds, strict=True))
    values = {figure.name: figure.value for figure in figures(found)}
    assert values["first_step_ratio_cold"] == pytest.approx(cold / by_hand)
    assert values["first_step_ratio_warm"] == pytest.approx(warm / by_hand)
    assert ratios_of(found, "cold") == [cold / by_hand for by_hand, cold, _ in rounds]
    assert ratios_of(found, "by hand") == [1.0] * len(rounds)


def test_each_way_is_as_often_early_as_late() -> None:
    assert sorted(order_of(0)) == sorted(WAYS)
    assert order_of(1) == tuple(reversed(order_of(0)))
    assert order_of(2) == order_of(0)


@given(st.lists(seconds, min_size=3, max_size=3).map(sorted))
def test_the_parts_of_the_way_are_all_of_it(passed: list[float]) -> None:
    driver_s, replica_s, step_s = passed
    parts = Times(driver_s=driver_s, replica_s=replica_s, step_s=step_s).parts
    assert sum(parts) == pytest.approx(step_s)
    assert min(parts) >= 0
