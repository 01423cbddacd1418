"""What the figures over HTTP are made of."""

from dataclasses import fields
from typing import Any

import pytest

from tests.bench.service.api import BATCHES_PER_S, POINTS_PER_BATCH, Api, points_per_second
from tests.bench.service.over_http import figures


def measured(**rounds: list[float]) -> Api:
    """Return measurements that are 1 but for these."""
    ones: dict[str, Any] = {
        field.name: [1.0] for field in fields(Api) if field.name != "scrape_lines"
    }
    return Api(**{**ones, **rounds})


def test_of_rounds_the_median_counts_and_of_databases_the_worse() -> None:
    found = {
        "sqlite": measured(get_few=[2, 2, 2], get_many=[2, 90, 4], points_per_second=[2000]),
        "postgresql": measured(get_few=[10], get_many=[12], points_per_second=[1500]),
    }
    values = {figure.name: (figure.value, figure.is_met) for figure in figures(found)}
    expected = {
        "get_job_p99_ms": (12, True),
        "get_job_p99_ratio_100k_to_1k": (2, False),
        "points_per_second": (1500, False),
    }
    assert {name: values[name] for name in expected} == expected


def test_points_are_taken_until_the_last_batch_is_answered() -> None:
    on_time = [(0.0, 200)] * (2 * BATCHES_PER_S)
    assert points_per_second(on_time) == pytest.approx(BATCHES_PER_S * POINTS_PER_BATCH, rel=0.01)
    # A second and a half after the last was due.
    held_up = [(2.0, 200), *on_time[1:-51], (2.01, 200), *on_time[:50]]
    assert points_per_second(held_up) == pytest.approx(len(held_up) * POINTS_PER_BATCH / 3.5)
