"""Figures beside their targets, as every bench prints them."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """Something measured, beside what was aimed at."""

    name: str
    value: float | None
    """None: not measured in this run."""
    target: float | None
    """None: told, and held to nothing."""
    at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where nothing was measured, or there is none."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def figure_table(figures: Iterable[Figure]) -> Table:
    """Return a row a figure."""
    table = Table(title="Beside the targets", title_justify="left")
    table.add_column("figure")
    for column in ("measured", "target", ""):
        table.add_column(column, justify="right")
    for figure in figures:
        table.add_row(
            figure.name,
            "not measured" if figure.value is None else _number(figure.value),
            _target(figure),
            {True: "met", False: "missed", None: ""}[figure.is_met],
        )
    return table


def _number(value: float) -> str:
    # A hundredth hides what a small figure is.
    return f"{value:,.4f}" if abs(value) < 0.1 else f"{value:,.2f}"


def _target(figure: Figure) -> str:
    sign = "≤" if figure.at_most else "≥"
    return "" if figure.target is None else f"{sign} {figure.target:g}"
