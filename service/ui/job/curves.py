"""The charts of a job by step, and of what the time of a step goes to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.history import History, HistoryPoint, Series
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.charts import Chart, axis, line, some
from service.ui.job.breakdown import phases_over_time, replicas_over_time
from service.ui.job.errors import errors_chart
from service.ui.job.published import Published

# A rate that falls by less has not dropped: a mean of equal numbers is not always that number.
_DROP = 0.999
_MAX_ROWS = 60
# Of the steps: what is written beside a later mark would be cut off.
_HAS_ROOM = 0.8
# Of a rate that varies by more there would be too many ticks at 2 and 5.
_MAX_FINE_SPAN = 1e4


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A drop of the learning rate."""

    step: int
    rate: float


def curves(job: JobRecord, history: History, published: Published) -> list[Chart]:
    """Return the charts of which there is something to see, in their order."""
    charts = [
        _loss(job, history),
        errors_chart(history.evaluations, published),
        _phases(job),
        phases_over_time(history.breakdowns),
        _throughput(history.points),
        replicas_over_time(history.breakdowns),
        _rate(history.points),
    ]
    return [chart for chart in charts if chart is not None]


def drops_of(points: Sequence[HistoryPoint]) -> list[Drop]:
    """Return where the learning rate fell; a rise, as in a warm-up, is none."""
    found: list[Drop] = []
    rate: float | None = None
    for point in points:
        spread = point.values["learning_rate"]
        if rate is not None and 0 < spread.min < rate * _DROP:
            rate = spread.min
            found.append(Drop(step=point.first_step, rate=rate))
        elif rate is None or spread.mean > rate:
            rate = spread.max
    return found


def rate_axis(learned: Sequence[float]) -> dict[str, Any]:
    """Return the axis of learning rates, none of them zero."""
    is_fine = max(learned) / min(learned) <= _MAX_FINE_SPAN
    # Without a format plotly writes powers of ten larger than what is between them.
    return axis("ε", type="log", dtick="D2" if is_fine else 1, tickformat="~g")


def _loss(job: JobRecord, history: History) -> Chart | None:
    if not history.points:
        return None
    traces = [_of(history.points, "loss", "Training", meta="noisy", legendrank=1)]
    is_trained = job.spec.kind == "train"
    # By another protocol it is measured at the end alone.
    measured = [one for one in history.evaluations if is_trained and one.protocol == "centre_crop"]
    if measured:
        steps = [one.step for one in measured]
        told = [one.loss for one in measured]
        traces.append(line("Validation", steps, told, mode="lines+markers", legendrank=2))
    drops, last_step = drops_of(history.points), history.points[-1].step
    rows = _rows(history.points, [("loss", formats.decimal), ("learning_rate", formats.decimal)])
    named = "; dotted where ε drops" if drops else ""
    return Chart(
        id="loss",
        title="Loss",
        note=f"mean cross-entropy, nats{named}",
        data=traces,
        layout=_by_step("Loss") | {"shapes": [_mark(drop, last_step) for drop in drops]},
        columns=("Steps", "Epoch", "Training loss", "ε"),
        rows=rows,
        smoothing=0.6,
        may_be_log=True,
    )


def _throughput(points: Sequence[HistoryPoint]) -> Chart | None:
    if not points:
        return None
    y = axis("Images/s", rangemode="tozero")
    return Chart(
        id="throughput",
        title="Images per second",
        note="over all replicas",
        data=[_of(points, "images_per_second", "Images/s", meta="noisy")],
        layout=_by_step("Images/s") | {"yaxis": y, "showlegend": False},
        columns=("Steps", "Epoch", "Images/s"),
        rows=_rows(points, [("images_per_second", formats.count)]),
        smoothing=0,
    )


def _rate(points: Sequence[HistoryPoint]) -> Chart | None:
    # An evaluation learns nothing.
    rates = [point.values["learning_rate"].mean for point in points]
    learned = [rate for rate in rates if rate > 0]
    if not learned:
        return None
    return Chart(
        id="rate",
        title="Learning rate ε",
        data=[_of(points, "learning_rate", "ε", line={"shape": "hv"})],
        layout=_by_step("ε") | {"yaxis": rate_axis(learned), "showlegend": False},
        columns=("Steps", "Epoch", "ε"),
        rows=_rows(points, [("learning_rate", formats.decimal)]),
    )


def _phases(job: JobRecord) -> Chart | None:
    told = {} if job.progress is None else job.progress.phase_seconds
    spent = sorted(((s, phase) for phase, s in told.items() if s > 0), reverse=True)
    whole = sum(seconds for seconds, _ in spent)
    if whole <= 0:
        return None
    names = [phase.replace("_", " ") for _, phase in spent]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [seconds * 1000 for seconds, _ in spent],
        "y": names,
        "text": [f"{seconds / whole:.0%}" for seconds, _ in spent],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{x:.1f} ms<extra></extra>",
    }
    layout = {
        # Room for what is written behind the longest.
        "xaxis": axis("ms of a step", range=[0, spent[0][0] * 1150]),
        "yaxis": {"autorange": "reversed"},
        "hovermode": "closest",
        "showlegend": False,
        "bargap": 0.35,
    }
    return Chart(
        id="phases",
        title="Time of a step by phase",
        note="as rank 0's host told last",
        data=[trace],
        layout=layout,
        columns=("Phase", "ms of a step", "Share"),
        rows=[
            (phase.replace("_", " "), f"{seconds * 1000:,.1f}", formats.percent(seconds / whole))
            for seconds, phase in spent
        ],
    )


def _of(points: Sequence[HistoryPoint], series: Series, name: str, **more: Any) -> dict[str, Any]:
    steps = [point.step for point in points]
    return line(name, steps, [point.values[series].mean for point in points], **more)


def _by_step(title: str) -> dict[str, Any]:
    return {"xaxis": axis("Step"), "yaxis": axis(title)}


def _mark(drop: Drop, last_step: int) -> Mapping[str, Any]:
    return {
        "type": "line",
        "x0": drop.step,
        "x1": drop.step,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
        "label": {
            "text": f"ε {formats.decimal(drop.rate)}",
            "textposition": "end",
            "textangle": 0,
            # Where there is room: above the top is the legend, and beyond the last step nothing.
            "xanchor": "left" if drop.step < last_step * _HAS_ROOM else "right",
            "yanchor": "top",
            "font": {"color": "var(--muted)", "size": 11},
        },
    }


def _rows(points: Sequence[HistoryPoint], told: Sequence[tuple[Series, Any]]) -> list[list[str]]:
    """Return a table of at most some rows; the last point is among them."""
    return [
        [
            formats.count(point.step),
            f"{point.epoch:.2f}",
            *(write(point.values[series].mean) for series, write in told),
        ]
        for point in some(points, _MAX_ROWS)
    ]
