"""What the figures over HTTP are made of."""

from dataclasses import fields

from tests.bench.service.api import Api
from tests.bench.service.over_http import figures


def measured(**rounds: list[float]) -> Api:
    """Return measurements that are 1 but for these."""
    ones = {field.name: [1.0] for field in fields(Api) if field.name != "scrape_lines"}
    return Api(**{**ones, **rounds})


def test_of_rounds_the_median_counts_and_of_databases_the_worse() -> None:
    found = {
        "sqlite": measured(get_few=[2, 2, 2], get_many=[2, 90, 4], points_per_second=[2000]),
        "postgresql": measured(get_few=[10], get_many=[12], points_per_second=[1500]),
    }
    values = {figure.name: (figure.value, figure.is_met) for figure in figures(found)}
    assert values["get_job_p99_ms"] == (12, True)
    assert values["get_job_p99_ratio_100k_to_1k"] == (2, False)
    assert values["points_per_second"] == (1500, False)
