"""The chart of errors at each evaluation, with what is published of such networks. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.ui import formats
from service.ui.charts import Chart, axis, line
from service.ui.job.published import Published
from trainer.contract.events import Evaluated
from trainer.contract.published import ComparedResult
from trainer.contract.report_text import PROTOCOLS

_DASHES = {"centre_crop": "dash", "ten_view": "dot"}


def errors_chart(evaluations: Sequence[Evaluated], published: Published) -> Chart | None:
    """Return the chart; None: nothing was measured yet."""
    if not evaluations:
        return None
    last = evaluations[-1].step
    traces = [*_measured(evaluations), *_lines(published.rows, evaluations[0].step, last)]
    layout = {
        "xaxis": axis("Step"),
        "yaxis": axis("Error", tickformat=".0%", rangemode="tozero"),
        "legend": {"tracegroupgap": 0},
    }
    return Chart(
        id="errors",
        title="Top-1 and top-5 error",
        note=published.note or "on the validation set; broken lines are published results",
        data=traces,
        layout=layout,
        columns=("Steps", "Epoch", "Views", "Top-1 error", "Top-5 error", "Loss"),
        rows=[*_published_rows(published.rows), *_rows(evaluations)],
    )


def _measured(evaluations: Sequence[Evaluated]) -> Iterator[Mapping[str, Any]]:
    for protocol, words in PROTOCOLS.items():
        found = [one for one in evaluations if one.protocol == protocol]
        if not found:
            continue
        steps = [one.step for one in found]
        # One alone is no line.
        mode = "lines+markers" if len(found) < 100 else "lines"
        symbol = {"symbol": "circle" if protocol == "centre_crop" else "diamond", "size": 7}
        for place, (name, errors) in enumerate(
            (
                ("Top-1", [1 - one.top1 for one in found]),
                ("Top-5", [1 - one.top5 for one in found]),
            ),
            start=1,
        ):
            colour = f"var(--series-{place})"
            yield line(
                f"{name}, {words}",
                steps,
                errors,
                mode=mode,
                marker=symbol,
                line={"color": colour},
                hovertemplate="%{y:.2%}",
            )


def _lines(rows: Sequence[ComparedResult], first: int, last: int) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        for place, (name, error) in enumerate(
            (("top-1", row.top1_error), ("top-5", row.top5_error)), start=1
        ):
            if error is None:
                continue
            told = f"{row.network}, {PROTOCOLS[row.protocol]}"
            yield line(
                told if place == 1 else f"{told}, {name}",
                [0, max(last, first + 1)],
                [error, error],
                # Both lines of a row are one entry.
                legendgroup=told,
                showlegend=place == 1,
                line={
                    "color": f"var(--series-{place})",
                    "width": 1.5,
                    "dash": _DASHES[row.protocol],
                },
                hovertemplate="%{y:.1%}",
            )


def _rows(evaluations: Sequence[Evaluated]) -> list[Sequence[str]]:
    return [
        (
            formats.count(one.step),
            f"{one.epoch:.2f}",
            PROTOCOLS[one.protocol],
            formats.percent(1 - one.top1),
            formats.percent(1 - one.top5),
            formats.decimal(one.loss),
        )
        for one in reversed(evaluations)
    ]


def _published_rows(rows: Sequence[ComparedResult]) -> list[Sequence[str]]:
    return [
        (
            f"{row.network} ({row.source})",
            formats.NONE,
            PROTOCOLS[row.protocol],
            *(
                formats.NONE if error is None else formats.percent(error)
                for error in (row.top1_error, row.top5_error)
            ),
            formats.NONE,
        )
        for row in rows
    ]
