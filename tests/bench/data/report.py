"""What the measurements come to: ratios beside their targets, tables, one line of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.bench.data.contender import Results
from tests.bench.figures import Figure, figure_table


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one contender is as another, and how many times it should be."""

    figure: str
    of: str
    to: str
    target: float


def figure_of(ratio: Ratio, results: Mapping[str, Results]) -> Figure:
    """Return the ratio of the best rounds."""
    ours, others = best(results.get(ratio.of)), best(results.get(ratio.to))
    value = None if ours is None or others is None else round(ours / others, 3)
    return Figure(ratio.figure, value, ratio.target)


def best(results: Results | None) -> float | None:
    """Return the fastest round, images a second."""
    return max(results.rates) if results and results.rates else None


def to_json(
    results: Mapping[str, Results], figures: list[Figure], others: Mapping[str, object]
) -> dict[str, object]:
    """Return all that was measured, for machines."""
    return {
        **{figure.name: figure.value for figure in figures},
        "targets_missed": [figure.name for figure in figures if figure.is_met is False],
        "images_per_second": {name: _rounded(best(each)) for name, each in results.items()},
        "rounds": {name: [round(rate) for rate in each.rates] for name, each in results.items()},
        "peak_memory_mib": {
            name: {"own": each.peak.own >> 20, "mapped": each.peak.mapped >> 20}
            for name, each in results.items()
            if each.peak
        },
        "absent": {name: each.absent for name, each in results.items() if each.absent},
        **others,
    }


def show(results: Mapping[str, Results], figures: list[Figure], settings: str) -> None:
    """Print both tables."""
    console = Console(width=118)
    table = Table(title=settings, title_justify="left")
    table.add_column("contender")
    for column in ("images/s", "rounds", "memory, MiB", "and mapped files"):
        table.add_column(column, justify="right")
    for name, each in results.items():
        if each.absent:
            table.add_row(name, "", each.absent)
            continue
        table.add_row(
            name,
            f"{best(each) or 0:,.0f}",
            " ".join(f"{rate:,.0f}" for rate in each.rates),
            f"{each.peak.own >> 20:,}" if each.peak else "",
            f"{each.peak.mapped >> 20:,}" if each.peak else "",
        )
    console.print(table)
    console.print(figure_table(figures))


def _rounded(rate: float | None) -> int | None:
    return None if rate is None else round(rate)
