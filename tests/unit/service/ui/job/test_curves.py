"""The charts of a job."""

from collections.abc import Sequence
from dataclasses import replace

from service.jobs.history import History, HistoryPoint, Spread
from service.jobs.records import JobRecord
from service.ui.job.curves import Drop, curves, drops_of
from service.ui.job.published import Published
from tests.unit.service.conftest import progress
from tests.unit.service.jobs.records import job as job_record
from trainer.contract.events import Evaluated
from trainer.contract.published import compared

CENTRE = Evaluated(step=4, epoch=1, num_samples=10, loss=1.5, top1=0.6, top5=0.8)


def point(step: int, rate: float, *, least: float | None = None) -> HistoryPoint:
    def spread(value: float) -> Spread:
        return Spread(mean=value, min=value, max=value)

    return HistoryPoint(
        first_step=step,
        step=step,
        epoch=step / 4,
        num_points=1,
        values={
            "loss": spread(7.0 - step),
            "images_per_second": spread(100.0),
            "learning_rate": Spread(mean=rate, min=rate if least is None else least, max=rate),
        },
    )


def history(*rates: float, evaluations: Sequence[Evaluated] = ()) -> History:
    points = [point(step, rate) for step, rate in enumerate(rates, 1)]
    return History(points=points, evaluations=evaluations)


def running(**fields: object) -> JobRecord:
    return replace(job_record(), progress=progress(3, **fields))


def test_a_drop_is_found_once_and_a_warm_up_is_none() -> None:
    points = [point(1, 0.1), point(2, 0.2), point(3, 0.2), point(4, 0.02), point(5, 0.02)]
    assert drops_of(points) == [Drop(step=4, rate=0.02)]


def test_a_drop_within_points_shown_as_one_is_found_once() -> None:
    points = [point(1, 0.2), point(2, 0.11, least=0.02), point(3, 0.02), point(4, 0.02)]
    assert drops_of(points) == [Drop(step=2, rate=0.02)]


def test_before_the_first_step_there_is_nothing_to_draw() -> None:
    assert curves(job_record(), history(), Published()) == []


def test_each_chart_has_a_table_of_its_numbers() -> None:
    told = curves(
        running(phase_seconds={"forward": 0.3, "data_wait": 0.1}),
        history(0.1, 0.1, 0.01, evaluations=[CENTRE]),
        Published(),
    )
    assert [chart.id for chart in told] == ["loss", "errors", "phases", "throughput", "rate"]
    for chart in told:
        assert chart.rows
        assert all(len(row) == len(chart.columns) for row in chart.rows)


def test_the_loss_stands_with_that_of_validation_and_marks_where_the_rate_drops() -> None:
    loss, *_ = curves(running(), history(0.1, 0.1, 0.01, evaluations=[CENTRE]), Published())
    assert [(trace["name"], trace["x"], trace["y"]) for trace in loss.data] == [
        ("Training", [1, 2, 3], [6.0, 5.0, 4.0]),
        ("Validation", [4], [1.5]),
    ]
    (mark,) = loss.layout["shapes"]
    assert (mark["x0"], mark["label"]["text"]) == (3, "ε 0.01")


def test_a_drop_is_named_below_the_legend_on_the_side_that_has_room() -> None:
    loss, *_ = curves(running(), history(0.1, 0.01, 0.01, 0.01, 0.001), Published())
    labels = [shape["label"] for shape in loss.layout["shapes"]]
    assert [(one["xanchor"], one["yanchor"]) for one in labels] == [
        ("left", "top"),
        ("right", "top"),
    ]


def test_what_learns_nothing_has_no_learning_rate() -> None:
    told = curves(running(), history(0.0, 0.0), Published())
    assert [chart.id for chart in told] == ["loss", "throughput"]


def test_a_rate_that_varies_little_has_ticks_between_the_powers_of_ten() -> None:
    for rates, dtick in (((0.002, 0.0002), "D2"), ((0.1, 0.000001), 1)):
        *_, rate = curves(running(), history(*rates), Published())
        assert rate.layout["yaxis"]["dtick"] == dtick


def test_a_long_table_tells_some_rows_and_the_last() -> None:
    loss, *_ = curves(running(), history(*[0.1] * 500), Published())
    assert len(loss.rows) <= 60
    assert loss.rows[0][0] == "500"


def test_phases_are_told_as_shares_of_a_step_the_longest_first() -> None:
    told = running(phase_seconds={"forward": 0.3, "data_wait": 0.1, "other": 0.0})
    (phases,) = curves(told, history(), Published())
    assert phases.rows == [("forward", "300.0", "75.0 %"), ("data wait", "100.0", "25.0 %")]


def test_errors_stand_beside_published_ones_by_protocol() -> None:
    rows = [row for row in compared() if row.network in {"1 CNN", "Caffe's AlexNet"}]
    ten = CENTRE.model_copy(update={"protocol": "ten_view", "top1": 0.61})
    _, errors, *_ = curves(running(), history(0.1, evaluations=[CENTRE, ten]), Published(rows=rows))
    names = [trace["name"] for trace in errors.data]
    assert names == [
        "Top-1, centre crop",
        "Top-5, centre crop",
        "Top-1, ten views",
        "Top-5, ten views",
        "1 CNN, ten views",
        "1 CNN, ten views, top-5",
        "Caffe's AlexNet, centre crop",
        "Caffe's AlexNet, centre crop, top-5",
    ]
    assert errors.data[0]["y"] == [0.4]
    assert errors.data[4]["y"] == [0.407, 0.407]


def test_the_note_says_why_nothing_published_is_drawn() -> None:
    _, errors, *_ = curves(
        running(), history(0.1, evaluations=[CENTRE]), Published(note="other classes")
    )
    assert errors.note == "other classes"
    assert len(errors.data) == 2
