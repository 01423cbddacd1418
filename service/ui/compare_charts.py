"""The curves of several jobs in one chart each. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.jobs.history import Series
from service.ui import formats
from service.ui.charts import Chart, axis, line, some
from service.ui.compare_errors import errors_chart
from service.ui.compared import AXES, MAX_MARKED, MAX_ROWS, By, Compared, style
from service.ui.job.curves import rate_axis


def compare_charts(compared: Sequence[Compared], by: By = "step") -> list[Chart]:
    """Return the charts of which there is something to see, in their order."""
    charts = [
        _loss(compared, by),
        _validation_loss(compared, by),
        errors_chart(compared, "top1", "Top-1 error", by),
        errors_chart(compared, "top5", "Top-5 error", by),
        _rate(compared, by),
        _throughput(compared, by),
    ]
    return [chart for chart in charts if chart is not None]


def _loss(compared: Sequence[Compared], by: By) -> Chart | None:
    return _of_points(
        compared,
        by,
        series="loss",
        title="Training loss",
        write=formats.decimal,
        note="mean cross-entropy, nats",
        smoothing=0.6,
        may_be_log=True,
    )


def _rate(compared: Sequence[Compared], by: By) -> Chart | None:
    # An evaluation learns nothing.
    learning = [one for one in compared if any(_rates(one))]
    if not learning:
        return None
    return _of_points(
        compared,
        by,
        series="learning_rate",
        title="Learning rate ε",
        write=formats.decimal,
        y=rate_axis([rate for one in learning for rate in _rates(one) if rate > 0]),
    )


def _throughput(compared: Sequence[Compared], by: By) -> Chart | None:
    return _of_points(
        compared,
        by,
        series="images_per_second",
        title="Images per second",
        write=formats.count,
        note="over all replicas",
        y=axis("Images per second", rangemode="tozero"),
        smoothing=0,
    )


def _of_points(
    compared: Sequence[Compared],
    by: By,
    *,
    series: Series,
    title: str,
    write: Callable[[float | None], str],
    note: str = "",
    y: Mapping[str, Any] | None = None,
    smoothing: float | None = None,
    may_be_log: bool = False,
) -> Chart | None:
    shown = [(place, one) for place, one in enumerate(compared) if one.history.points]
    if not shown:
        return None
    traces = [
        line(
            one.title,
            [one.along(by, point) for point in one.history.points],
            [point.values[series].mean for point in one.history.points],
            line=style(place),
            meta="noisy",
        )
        for place, one in shown
    ]
    return Chart(
        id=series.replace("_", "-"),
        title=title,
        note=note,
        data=traces,
        layout={"xaxis": axis(AXES[by]), "yaxis": y or axis(title), "showlegend": True},
        columns=("Job", "Steps", "Epoch", title),
        rows=[
            (
                one.title,
                formats.count(point.step),
                f"{point.epoch:.2f}",
                write(point.values[series].mean),
            )
            for _, one in shown
            for point in some(one.history.points, MAX_ROWS)
        ],
        smoothing=smoothing,
        may_be_log=may_be_log,
    )


def _validation_loss(compared: Sequence[Compared], by: By) -> Chart | None:
    # By another protocol it is measured at the end alone.
    shown = [
        (place, one, found)
        for place, one in enumerate(compared)
        if (found := [each for each in one.history.evaluations if each.protocol == "centre_crop"])
    ]
    if not shown:
        return None
    return Chart(
        id="validation-loss",
        title="Validation loss",
        note="mean cross-entropy by the centre crop, nats",
        data=[
            line(
                one.title,
                [one.along(by, each) for each in found],
                [each.loss for each in found],
                mode="lines+markers" if len(found) <= MAX_MARKED else "lines",
                line=style(place),
            )
            for place, one, found in shown
        ],
        layout={"xaxis": axis(AXES[by]), "yaxis": axis("Validation loss"), "showlegend": True},
        columns=("Job", "Steps", "Epoch", "Validation loss"),
        rows=[
            (
                one.title,
                formats.count(each.step),
                f"{each.epoch:.2f}",
                formats.decimal(each.loss),
            )
            for _, one, found in shown
            for each in some(found, MAX_ROWS)
        ],
        may_be_log=True,
    )


def _rates(one: Compared) -> list[float]:
    return [point.values["learning_rate"].mean for point in one.history.points]
