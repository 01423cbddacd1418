"""The charts of a job by phase and by replica, over the whole run. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import get_args

from service.jobs.history import Breakdown
from service.ui import formats
from service.ui.charts import Chart, axis, line, some
from trainer.contract.events import Phase

# More lines are told apart by no colour.
MAX_LINES = 8
_MAX_ROWS = 60
# Each keeps its colour, whatever else there is; what is no part of a step has none of its own.
_COLOURS: Mapping[Phase, str] = {
    "data_wait": "var(--series-1)",
    "transfer": "var(--series-2)",
    "forward": "var(--series-3)",
    "exchange": "var(--series-4)",
    "backward": "var(--series-5)",
    "all_reduce": "var(--series-6)",
    "optimizer": "var(--series-7)",
    "checkpoint": "var(--series-8)",
    "evaluation": "var(--muted)",
    "compute": "var(--series-3)",
    "other": "var(--line-strong)",
}

# Two greys are told apart by more than colour.
_PATTERNS: Mapping[Phase, str] = {"evaluation": "/", "other": "."}


def phases_over_time(breakdowns: Sequence[Breakdown]) -> Chart | None:
    """Return the chart of shares that lie on each other; None: nothing was told of phases."""
    told = [one for one in breakdowns if sum(one.phase_seconds.values()) > 0]
    if not told:
        return None
    named = {phase for one in told for phase, seconds in one.phase_seconds.items() if seconds > 0}
    phases: list[Phase] = [phase for phase in get_args(Phase) if phase in named]
    steps = [one.step for one in told]
    return Chart(
        id="phases-by-step",
        title="Where the time goes",
        note="shares of rank 0's time by phase, over the run",
        data=[
            line(
                _words(phase),
                steps,
                [_share(one, phase) for one in told],
                stackgroup="time",
                line={"width": 0.5, "color": _COLOURS[phase]},
                fillpattern={"shape": _PATTERNS.get(phase, "")},
                hovertemplate="%{y:.1%}",
            )
            for phase in phases
        ],
        layout={
            "xaxis": axis("Step"),
            "yaxis": axis("Share of the time", tickformat=".0%", range=[0, 1]),
            "legend": {"traceorder": "normal"},
        },
        columns=("Steps", "Epoch", "ms of a step", *map(_words, phases)),
        rows=[
            (
                formats.count(one.step),
                f"{one.epoch:.2f}",
                f"{sum(one.phase_seconds.values()) * 1000:,.1f}",
                *(formats.percent(_share(one, phase)) for phase in phases),
            )
            for one in some(told, _MAX_ROWS)
        ],
    )


def replicas_over_time(breakdowns: Sequence[Breakdown]) -> Chart | None:
    """Return the chart of a line a replica, or of their spread; None: there is but one."""
    told = [one for one in breakdowns if one.replica_images_per_second]
    if not told:
        return None
    most = max(len(one.replica_images_per_second) for one in told)
    spreads = most > MAX_LINES
    names = ("Least", "Median", "Most") if spreads else [f"Replica {rank}" for rank in range(most)]
    values = [
        _spread(one.replica_images_per_second) if spreads else one.replica_images_per_second
        for one in told
    ]
    steps = [one.step for one in told]
    return Chart(
        id="replicas",
        title="Images per second by replica",
        note="each by the time in which it does not wait for the others",
        data=[
            line(
                name,
                steps,
                # Of a rank that was not there as long as there were fewer.
                [rates[place] if place < len(rates) else None for rates in values],
                meta="noisy",
                line={"color": f"var(--series-{place + 1})"},
            )
            for place, name in enumerate(names)
        ],
        layout={
            "xaxis": axis("Step"),
            "yaxis": axis("Images/s", rangemode="tozero"),
            "showlegend": True,
        },
        columns=("Steps", "Epoch", *names),
        rows=[
            (
                formats.count(one.step),
                f"{one.epoch:.2f}",
                *(f"{rate:,.1f}" for rate in rates),
                *[formats.NONE] * (len(names) - len(rates)),
            )
            for one, rates in some(list(zip(told, values, strict=True)), _MAX_ROWS)
        ],
        smoothing=0,
    )


def _spread(rates: Sequence[float]) -> Sequence[float]:
    return min(rates), median(rates), max(rates)


def _share(one: Breakdown, phase: Phase) -> float:
    return one.phase_seconds.get(phase, 0.0) / sum(one.phase_seconds.values())


def _words(phase: Phase) -> str:
    return phase.replace("_", " ")
