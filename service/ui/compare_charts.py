"""The curves of several jobs in one chart each. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.jobs.history import History, HistoryPoint, Series
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.charts import Chart, axis, line
from service.ui.job.published import Published
from trainer.contract.events import Evaluated
from trainer.contract.published import ComparedResult
from trainer.contract.report_text import PROTOCOLS

# Told apart by more than colour.
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = {"centre_crop": "circle", "ten_view": "diamond"}
_MAX_ROWS = 24
# More points of a line hide it.
_MAX_MARKED = 40
_LEGEND_CHARACTERS = 22

Error = Literal["top1", "top5"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A job, its history, and what is published of networks like its own."""

    job: JobRecord
    history: History
    published: Published

    @property
    def title(self) -> str:
        """Name and id: names are not unique."""
        return f"{self.job.spec.name} ({self.job.id})"

    @property
    def legend(self) -> str:
        """The same, as short as a legend has room for."""
        name = self.job.spec.name
        short = name if len(name) <= _LEGEND_CHARACTERS else f"{name[: _LEGEND_CHARACTERS - 1]}…"
        return f"{short} ({self.job.id})"


def compare_charts(compared: Sequence[Compared]) -> list[Chart]:
    """Return the charts of which there is something to see, in their order."""
    charts = [
        _by_step(compared, "loss", "Training loss", formats.decimal, "mean cross-entropy, nats"),
        _errors(compared, "top1", "Top-1 error"),
        _errors(compared, "top5", "Top-5 error"),
        _by_step(
            compared, "images_per_second", "Images per second", formats.count, "over all replicas"
        ),
    ]
    return [chart for chart in charts if chart is not None]


def published_rows(compared: Sequence[Compared]) -> list[ComparedResult]:
    """Return what is published of networks like the jobs', each once."""
    return list(dict.fromkeys(row for one in compared for row in one.published.rows))


def published_note(compared: Sequence[Compared]) -> str:
    """Say why nothing published stands beside some of the jobs; '': it does beside all."""
    return " ".join(dict.fromkeys(one.published.note for one in compared if one.published.note))


def _by_step(
    compared: Sequence[Compared],
    series: Series,
    title: str,
    write: Callable[[float | None], str],
    note: str,
) -> Chart | None:
    shown = [(place, one) for place, one in enumerate(compared) if one.history.points]
    if not shown:
        return None
    traces = [
        line(
            one.legend,
            [point.step for point in one.history.points],
            [point.values[series].mean for point in one.history.points],
            line=_style(place),
        )
        for place, one in shown
    ]
    is_rate = series == "images_per_second"
    return Chart(
        id=series.replace("_", "-"),
        title=title,
        note=note,
        data=traces,
        layout={
            "xaxis": axis("Step"),
            "yaxis": axis(title, **({"rangemode": "tozero"} if is_rate else {})),
            "showlegend": True,
        },
        columns=("Job", "Steps", "Epoch", title),
        rows=[
            (
                one.title,
                formats.count(point.step),
                f"{point.epoch:.2f}",
                write(point.values[series].mean),
            )
            for _, one in shown
            for point in _some(one.history.points)
        ],
    )


def _errors(compared: Sequence[Compared], error: Error, title: str) -> Chart | None:
    if not any(one.history.evaluations for one in compared):
        return None
    rows = [row for row in published_rows(compared) if _published_error(row, error) is not None]
    measured = [one for each in compared for one in each.history.evaluations]
    has_ten_views = any(one.protocol == "ten_view" for one in measured)
    return Chart(
        id=error,
        title=title,
        note="on each job's validation set"
        + ("; diamonds are ten views" if has_ten_views else "")
        + ("; grey lines are published results" if rows else ""),
        data=[
            *(
                trace
                for place, one in enumerate(compared)
                for trace in _measured(place, one, error)
            ),
            *(_published(row, error, measured) for row in rows),
        ],
        layout={
            "xaxis": axis("Epoch"),
            "yaxis": axis(title, tickformat=".0%", rangemode="tozero"),
            "showlegend": True,
        },
        columns=("Job", "Epoch", "Views", title),
        rows=[
            *(
                (
                    f"{row.network} ({row.source})",
                    formats.NONE,
                    PROTOCOLS[row.protocol],
                    formats.percent(_published_error(row, error)),
                )
                for row in rows
            ),
            *(
                (
                    one.title,
                    f"{each.epoch:.2f}",
                    PROTOCOLS[each.protocol],
                    formats.percent(1 - getattr(each, error)),
                )
                for one in compared
                for each in reversed(one.history.evaluations[-_MAX_ROWS:])
            ),
        ],
    )


def _measured(place: int, one: Compared, error: Error) -> Iterator[dict[str, Any]]:
    for protocol, words in PROTOCOLS.items():
        found = [each for each in one.history.evaluations if each.protocol == protocol]
        if not found:
            continue
        # What is measured at every epoch is a line, and the end of a job a point.
        is_point = protocol != "centre_crop"
        is_marked = len(found) <= _MAX_MARKED
        mode = "markers" if is_point else "lines+markers" if is_marked else "lines"
        yield line(
            f"{one.legend}, {words}" if is_point else one.legend,
            [each.epoch for each in found],
            [1 - getattr(each, error) for each in found],
            mode=mode,
            line=_style(place),
            marker={
                "symbol": _SYMBOLS[protocol],
                "size": 10 if is_point else 7,
                "color": _colour(place),
            },
            hovertemplate="%{y:.2%}",
            legendgroup=one.job.id,
            showlegend=not is_point or len(found) == len(one.history.evaluations),
        )


def _published(row: ComparedResult, error: Error, measured: Sequence[Evaluated]) -> dict[str, Any]:
    value = _published_error(row, error)
    last = max(one.epoch for one in measured)
    return line(
        f"{row.network} ({row.source}), {PROTOCOLS[row.protocol]}",
        [0, max(last, 1)],
        [value, value],
        line={
            "color": "var(--muted)",
            "width": 1.5,
            "dash": "dash" if row.protocol == "centre_crop" else "dot",
        },
        hovertemplate="%{y:.1%}",
    )


def _published_error(row: ComparedResult, error: Error) -> float | None:
    return row.top1_error if error == "top1" else row.top5_error


def _style(place: int) -> dict[str, Any]:
    return {"color": _colour(place), "dash": _DASHES[place % len(_DASHES)]}


def _colour(place: int) -> str:
    return f"var(--series-{place + 1})"


def _some(points: Sequence[HistoryPoint]) -> Iterator[HistoryPoint]:
    """Give at most some of the points, the newest first."""
    every = -(-len(points) // _MAX_ROWS)
    yield from points[::-1][::every]
