"""What jobs came to, and how their specs differ."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.history import History, HistoryPoint, Series, Spread
from service.jobs.records import JobRecord
from service.store.store import Store
from service.ui.compare_charts import compare_charts
from service.ui.compare_facts import (
    MAX_JOBS,
    columns_of,
    problem_with,
    result_rows,
    spec_rows,
)
from service.ui.compared import By, Compared
from service.ui.job.published import Published
from tests.unit.service.conftest import job_in, make_spec
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.events import Evaluated
from trainer.contract.published import compared as published_results
from trainer.contract.spec import Protocol
from trainer.contract.status import Status

PAPER = Published(rows=[row for row in published_results() if row.network == "1 CNN"])


def measured(epoch: int, top1: float, protocol: Protocol = "centre_crop") -> Evaluated:
    return Evaluated(
        step=epoch * 10,
        epoch=epoch,
        num_samples=9,
        loss=2.0,
        top1=top1,
        top5=0.8,
        protocol=protocol,
    )


def point(step: int, loss: float) -> HistoryPoint:
    values: Mapping[Series, Spread] = {
        "loss": Spread(mean=loss, min=loss, max=loss),
        "images_per_second": Spread(mean=100, min=90, max=110),
        "learning_rate": Spread(mean=0.01, min=0.01, max=0.01),
    }
    return HistoryPoint(first_step=step, step=step, epoch=step / 10, num_points=1, values=values)


def job(store: Store, job_id: str, **fields: Any) -> JobRecord:
    return job_in(store, Status.RUNNING, job_id, spec=make_spec(**fields))


def compared(record: JobRecord, published: Published, *evaluations: Evaluated) -> Compared:
    history = History(points=[point(1, 3.0), point(2, 2.5)], evaluations=evaluations)
    return Compared(job=record, history=history, published=published)


def test_a_wrong_number_of_jobs_and_unknown_ids_are_told() -> None:
    assert problem_with([], []) == ""
    assert problem_with(["a", "b"], []) == ""
    assert "add another" in problem_with(["a"], [])
    many = [str(number) for number in range(MAX_JOBS + 1)]
    assert "9 jobs are too many" in problem_with(many, [])
    assert problem_with(["a", "b"], ["b"]).startswith("b is no job that you can see")
    assert problem_with(["a", "b"], ["a", "b"]).startswith("a, b are no jobs")


def test_specs_are_told_key_by_key_and_what_differs_is_known(store: Store) -> None:
    jobs = [
        job(store, "a", labels={"team": "vision"}, seed=1),
        job(store, "b", model={"lrn": False}, seed=1),
    ]
    rows = {row.path: row for row in spec_rows(jobs)}
    assert rows["model.lrn"].values == ("true", "false")
    assert rows["labels.team"].values == ("vision", "–")
    assert rows["seed"].values == ("1", "1")
    assert {path for path, row in rows.items() if row.differs} == {
        "labels",
        "labels.team",
        "model.lrn",
    }


def test_each_chart_has_a_curve_a_job_and_the_papers_lines_once(store: Store) -> None:
    pair = [
        compared(job(store, "a", name="one"), PAPER, measured(1, 0.4), measured(2, 0.5)),
        compared(job(store, "b", name="two"), PAPER, measured(2, 0.45, "ten_view")),
    ]
    charts = {chart.id: chart for chart in compare_charts(pair)}
    assert list(charts) == [
        "loss",
        "validation-loss",
        "top1",
        "top5",
        "learning-rate",
        "images-per-second",
    ]
    assert [trace["name"] for trace in charts["loss"].data] == ["one (a)", "two (b)"]
    assert charts["loss"].data[1]["y"] == [3.0, 2.5]
    colours = [trace["line"]["color"] for trace in charts["loss"].data]
    assert colours == ["var(--series-1)", "var(--series-2)"]
    assert charts["loss"].data[0]["line"]["dash"] != charts["loss"].data[1]["line"]["dash"]
    one, two, paper = charts["top1"].data
    assert (one["x"], one["y"]) == ([10, 20], [0.6, 0.5])
    assert (two["name"], two["mode"]) == ("two (b), ten views", "markers")
    assert paper["name"] == "1 CNN (the paper, Table 2), ten views"
    assert paper["y"] == [0.407, 0.407]
    assert ("one (a)", "2.00", "centre crop", "50.0 %") in charts["top1"].rows
    # Ten views are measured at the end alone.
    (validation,) = charts["validation-loss"].data
    assert (validation["x"], validation["y"]) == ([10, 20], [2.0, 2.0])
    assert charts["validation-loss"].rows[0] == ("one (a)", "20", "2.00", "2")
    assert [(chart.id, chart.smoothing, chart.may_be_log) for chart in charts.values()] == [
        ("loss", 0.6, True),
        ("validation-loss", None, True),
        ("top1", None, False),
        ("top5", None, False),
        ("learning-rate", None, False),
        ("images-per-second", 0, False),
    ]


@pytest.mark.parametrize(
    ("by", "title", "loss", "top1"),
    [
        ("step", "Step", [1, 2], [10]),
        ("epoch", "Epoch", [0.1, 0.2], [1]),
        # Of 100 samples the second step of an epoch has 36.
        ("images", "Images trained on", [64, 100], [500]),
    ],
)
def test_curves_of_different_batch_sizes_go_by_what_is_alike(
    store: Store, by: By, title: str, loss: list[float], top1: list[float]
) -> None:
    large = job(store, "a", optim={"global_batch_size": 64})
    one = replace(compared(large, PAPER, measured(1, 0.4)), num_samples=100)
    pair = [one, compared(job(store, "b"), PAPER)]
    charts = {chart.id: chart for chart in compare_charts(pair, by)}
    assert {chart.layout["xaxis"]["title"]["text"] for chart in charts.values()} == {title}
    for name in ("loss", "learning-rate", "images-per-second"):
        assert charts[name].data[0]["x"] == loss
    for name in ("top1", "validation-loss"):
        assert charts[name].data[0]["x"] == top1
    # The published line is as long as what is measured.
    assert charts["top1"].data[-1]["x"] == [0, *top1]


@given(
    num_samples=st.integers(1, 100),
    batch=st.integers(1, 15).map(lambda of_stream: 8 * of_stream),
    step=st.integers(0, 200),
)
def test_each_sample_of_an_epoch_is_counted_once(num_samples: int, batch: int, step: int) -> None:
    record = replace(job_record(), spec=make_spec(optim={"global_batch_size": batch}))
    one = replace(compared(record, PAPER), num_samples=num_samples)
    left, images = 0, 0
    for _ in range(step):
        left = left or num_samples
        taken = min(batch, left)
        left, images = left - taken, images + taken
    assert one.along("images", point(step, 1.0)) == images


def test_where_no_plan_is_known_every_step_counts_as_a_whole_one(store: Store) -> None:
    one = compared(job(store, "a", optim={"global_batch_size": 64}), PAPER)
    assert one.along("images", point(3, 1.0)) == 192


def test_what_learns_nothing_has_no_learning_rate(store: Store) -> None:
    still = replace(
        point(1, 3.0), values={**point(1, 3.0).values, "learning_rate": Spread(0, 0, 0)}
    )
    history = History(points=[still], evaluations=[])
    one = Compared(job=job(store, "a"), history=history, published=PAPER)
    assert [chart.id for chart in compare_charts([one, one])] == ["loss", "images-per-second"]


def test_results_end_with_what_is_published_of_such_networks(store: Store) -> None:
    pair = [
        compared(job(store, "a", name="one"), PAPER, measured(1, 0.4), measured(2, 0.5)),
        compared(job(store, "b", name="two"), Published(note="other classes")),
    ]
    own, published = result_rows(pair)
    assert (own.name, own.top1_error, own.epoch, own.is_own) == ("one (a)", "50.0 %", "2.00", True)
    assert (published.top1_error, published.is_own) == ("40.7 %", False)
    assert result_rows(pair[1:]) == []


def test_jobs_without_a_step_have_no_charts(store: Store) -> None:
    record = job(store, "a")
    empty = Compared(job=record, history=History(points=[], evaluations=[]), published=Published())
    assert compare_charts([empty, empty]) == []
    (column,) = columns_of([record])
    assert (column.advance, column.took, column.others) == ("no step done", "", ())
