"""Charts: a figure of plotly's for a script to draw, and its numbers as a table for everyone.

A colour is one of the style sheet's by name, such as "var(--series-1)", so that it follows the
theme; where none is given, traces take --series-1 to --series-8 in turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_TEMPLATES = frozenset({"hovertemplate", "texttemplate"})


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart. Pure: a template draws it by the macro `chart` of _macros.html."""

    id: str
    """Within the page."""
    title: str
    data: Sequence[Mapping[str, Any]]
    """plotly's traces."""
    layout: Mapping[str, Any]
    """plotly's layout; fonts, background and margins are the page's."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Of the table; the first cell of each names the row."""
    note: str = ""
    """What one should know to read it."""
    smoothing: float | None = None
    """What its switch for lines that are `noisy` begins with, 0 to 0.99; None: it has none."""
    may_be_log: bool = False
    """Whether it has a switch for a scale of powers of ten."""

    @property
    def figure(self) -> Mapping[str, Any]:
        """What the script draws. Of what was written by others plotly would make links and markup.

        Templates for what is told under the pointer are ours, and name nothing of others.
        """
        return {"data": _inert(self.data), "layout": _inert(self.layout)}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis of a layout."""
    return {"title": {"text": title}, **more}


def line(name: str, x: Sequence[float], y: Sequence[float | None], **more: Any) -> dict[str, Any]:
    """Return a trace that is a line."""
    return {"type": "scatter", "mode": "lines", "name": name, "x": [*x], "y": [*y], **more}


def some(items: Sequence[T], at_most: int) -> Iterator[T]:
    """Give at most so many for a table, evenly spread, from the newest back."""
    every = -(-len(items) // at_most) or 1
    yield from items[::-1][::every]


def _inert(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, Mapping):
        return {key: below if key in _TEMPLATES else _inert(below) for key, below in value.items()}
    return [_inert(one) for one in value] if isinstance(value, list | tuple) else value
