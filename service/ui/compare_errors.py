"""The errors of several jobs in one chart, with what is published of such networks. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from service.ui import formats
from service.ui.charts import Chart, axis, line
from service.ui.compared import (
    AXES,
    MAX_MARKED,
    MAX_ROWS,
    By,
    Compared,
    colour,
    published_rows,
    style,
)
from trainer.contract.published import ComparedResult
from trainer.contract.report_text import PROTOCOLS

_SYMBOLS = {"centre_crop": "circle", "ten_view": "diamond"}

Error = Literal["top1", "top5"]


def errors_chart(compared: Sequence[Compared], error: Error, title: str, by: By) -> Chart | None:
    """Return the chart of top-1 or of top-5 errors; None: nothing was measured yet."""
    if not any(one.history.evaluations for one in compared):
        return None
    rows = [row for row in published_rows(compared) if _published_error(row, error) is not None]
    measured = [one for each in compared for one in each.history.evaluations]
    # One alone is to have a line beside it too.
    stop = max(each.along(by, one) for each in compared for one in each.history.evaluations) or 1
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
                for trace in _measured(place, one, error, by)
            ),
            *(_published(row, error, stop) for row in rows),
        ],
        layout={
            "xaxis": axis(AXES[by]),
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
                for each in reversed(one.history.evaluations[-MAX_ROWS:])
            ),
        ],
    )


def _measured(place: int, one: Compared, error: Error, by: By) -> Iterator[dict[str, Any]]:
    for protocol, words in PROTOCOLS.items():
        found = [each for each in one.history.evaluations if each.protocol == protocol]
        if not found:
            continue
        # What is measured at every epoch is a line, and the end of a job a point.
        is_point = protocol != "centre_crop"
        is_marked = len(found) <= MAX_MARKED
        mode = "markers" if is_point else "lines+markers" if is_marked else "lines"
        yield line(
            f"{one.title}, {words}" if is_point else one.title,
            [one.along(by, each) for each in found],
            [1 - getattr(each, error) for each in found],
            mode=mode,
            line=style(place),
            marker={
                "symbol": _SYMBOLS[protocol],
                "size": 10 if is_point else 7,
                "color": colour(place),
            },
            hovertemplate="%{y:.2%}",
            legendgroup=one.job.id,
            showlegend=not is_point or len(found) == len(one.history.evaluations),
        )


def _published(row: ComparedResult, error: Error, stop: float) -> dict[str, Any]:
    value = _published_error(row, error)
    return line(
        f"{row.network} ({row.source}), {PROTOCOLS[row.protocol]}",
        [0, stop],
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
