"""The charts of a job by phase and by replica."""

from collections.abc import Mapping

import pytest

from service.jobs.history import Breakdown
from service.ui.job.breakdown import MAX_LINES, phases_over_time, replicas_over_time
from trainer.contract.events import Phase


def broken(step: int, phases: Mapping[Phase, float], *rates: float) -> Breakdown:
    return Breakdown(
        first_step=step,
        step=step,
        epoch=step / 10,
        phase_seconds=phases,
        replica_images_per_second=rates,
    )


def test_what_tells_nothing_has_no_chart() -> None:
    for told in ([], [broken(1, {"forward": 0.0})]):
        assert phases_over_time(told) is None
        assert replicas_over_time(told) is None


def test_shares_of_phases_lie_on_each_other_and_are_whole() -> None:
    chart = phases_over_time(
        [
            broken(1, {"forward": 0.3, "data_wait": 0.1, "other": 0.0}),
            broken(2, {}),
            broken(3, {"forward": 0.1, "checkpoint": 0.3}),
        ]
    )
    assert chart is not None
    # In one order, whatever came first.
    assert [trace["name"] for trace in chart.data] == ["data wait", "forward", "checkpoint"]
    assert {trace["stackgroup"] for trace in chart.data} == {"time"}
    assert [trace["x"] for trace in chart.data] == [[1, 3]] * 3
    for shares in zip(*(trace["y"] for trace in chart.data), strict=True):
        assert sum(shares) == pytest.approx(1)
    assert chart.columns == ("Steps", "Epoch", "ms of a step", "data wait", "forward", "checkpoint")
    assert chart.rows == [
        ("3", "0.30", "400.0", "0.0 %", "25.0 %", "75.0 %"),
        ("1", "0.10", "400.0", "25.0 %", "75.0 %", "0.0 %"),
    ]


def test_each_replica_has_a_line_also_one_that_came_later() -> None:
    chart = replicas_over_time([broken(1, {}, 10.0, 8.0), broken(2, {}, 9.0, 7.0, 1234.56)])
    assert chart is not None
    assert [(trace["name"], trace["y"]) for trace in chart.data] == [
        ("Replica 0", [10.0, 9.0]),
        ("Replica 1", [8.0, 7.0]),
        ("Replica 2", [None, 1234.56]),
    ]
    assert len({trace["line"]["color"] for trace in chart.data}) == 3
    assert chart.rows == [
        ("2", "0.20", "9.0", "7.0", "1,234.6"),
        ("1", "0.10", "10.0", "8.0", "–"),
    ]


def test_of_many_replicas_the_extremes_and_the_middle_are_drawn() -> None:
    rates = [float(rate) for rate in range(MAX_LINES + 1)]
    chart = replicas_over_time([broken(1, {}, 5.0, 7.0), broken(2, {}, *rates)])
    assert chart is not None
    assert [(trace["name"], trace["y"]) for trace in chart.data] == [
        ("Least", [5.0, 0.0]),
        ("Median", [6.0, 4.0]),
        ("Most", [7.0, 8.0]),
    ]
    assert chart.columns == ("Steps", "Epoch", "Least", "Median", "Most")
