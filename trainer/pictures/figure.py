"""Lines over steps as SVG, in panels one below the other, for whoever has no script.

It has a ground of its own, so that it is read wherever it is opened.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

_WIDTH, _PLOT_HEIGHT = 960.0, 300.0
_LEFT, _RIGHT, _TITLE, _LEGEND_ROW, _BELOW = 72.0, 24.0, 30.0, 22.0, 48.0
_SWATCH = 28.0
# Assumed: no letter of a text of 13 pixels is wider on the average.
_CHARACTER = 7.0
_INK, _GRID, _GROUND = "#191d24", "#e3e6ec", "#ffffff"
_WANTED_TICKS = 6
# Of the greatest number: what varies by less is drawn as what does not vary.
_LEAST_SPAN = 1e-6


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line."""

    name: str
    points: Sequence[tuple[float, float]]
    """(x, y), ascending by x."""
    colour: str
    dash: str = ""
    """As SVG's stroke-dasharray."""
    is_marked: bool = False
    """Whether each point has a dot: few are, and one alone is no line."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines that share an axis."""

    title: str
    lines: Sequence[Line]
    is_share: bool = False
    """Whether its numbers are shares, written in per cent from zero."""


def figure(title: str, panels: Sequence[Panel]) -> bytes:
    """Return the panels, of which each has a point, as one SVG."""
    stop = max(x for panel in panels for one in panel.lines for x, _ in one.points) or 1.0
    svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
    ET.SubElement(svg, "title").text = title
    _add(svg, "rect", width="100%", height="100%", fill=_GROUND)
    top = 36.0
    _text(svg, title, _LEFT, 24.0, anchor="start", size=16)
    for panel in panels:
        top = _draw(svg, panel, top, stop)
    for name, value in (
        ("viewBox", f"0 0 {_WIDTH:g} {top:g}"),
        ("width", f"{_WIDTH:g}"),
        ("height", f"{top:g}"),
        ("font-family", "system-ui, sans-serif"),
    ):
        svg.set(name, value)
    return bytes(ET.tostring(svg, encoding="utf-8", xml_declaration=True))


def ticks(low: float, high: float, wanted: int = _WANTED_TICKS) -> list[float]:
    """Return round numbers, about so many, that hold a range between them: pure."""
    span = high - low
    if span <= max(abs(high), _LEAST_SPAN) * _LEAST_SPAN:
        span = abs(high) if abs(high) > _LEAST_SPAN else 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(k * magnitude for k in (1, 2, 5, 10) if span / (k * magnitude) <= wanted)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _draw(svg: ET.Element, panel: Panel, top: float, stop: float) -> float:
    """Draw a panel from `top` on, and return where it ends."""
    _text(svg, panel.title, _LEFT, top + 20, anchor="start", size=14)
    begin = top + _TITLE
    for line, x, row in _places(panel.lines):
        y = begin + row * _LEGEND_ROW + 10
        _add(svg, "path", d=f"M{x:g} {y:g}h20", **_stroke(line))
        _text(svg, line.name, x + _SWATCH, y + 4, anchor="start")
        begin_of_plot = y + 16
    numbers = [y for line in panel.lines for _, y in line.points]
    y_ticks = ticks(0.0 if panel.is_share else min(numbers), max(numbers))
    low, high = y_ticks[0], y_ticks[-1]
    # There is no half of a step.
    x_ticks = [tick for tick in ticks(0.0, stop) if tick <= stop and tick.is_integer()]

    def across(x: float) -> float:
        return _LEFT + x / stop * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return begin_of_plot + (high - y) / (high - low) * _PLOT_HEIGHT

    for tick in y_ticks:
        _add(svg, "path", d=f"M{_LEFT:g} {down(tick):.1f}H{_WIDTH - _RIGHT:g}", stroke=_GRID)
        written = f"{tick * 100:.4g} %" if panel.is_share else f"{tick:.4g}"
        _text(svg, written, _LEFT - 8, down(tick) + 4, anchor="end")
    end = begin_of_plot + _PLOT_HEIGHT
    for tick in x_ticks:
        _text(svg, f"{tick:,.0f}", across(tick), end + 18, anchor="middle")
    _text(svg, "Step", _WIDTH - _RIGHT, end + 36, anchor="end")
    for line in panel.lines:
        placed = [(f"{across(x):.1f}", f"{down(y):.1f}") for x, y in line.points]
        _add(svg, "path", d="M" + "L".join(map(" ".join, placed)), **_stroke(line))
        for cx, cy in placed if line.is_marked else ():
            _add(svg, "circle", cx=cx, cy=cy, r="3", fill=line.colour)
    return end + _BELOW


def _places(lines: Sequence[Line]) -> Iterator[tuple[Line, float, int]]:
    """Give each line's place in the legend: x, and the row."""
    x, row = _LEFT, 0
    for line in lines:
        width = _SWATCH + len(line.name) * _CHARACTER + 16
        if x > _LEFT and x + width > _WIDTH - _RIGHT:
            x, row = _LEFT, row + 1
        yield line, x, row
        x += width


def _stroke(line: Line) -> dict[str, str]:
    dashed = {"stroke-dasharray": line.dash} if line.dash else {}
    return {"fill": "none", "stroke": line.colour, "stroke-width": "1.5", **dashed}


def _add(parent: ET.Element, tag: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes)


def _text(svg: ET.Element, text: str, x: float, y: float, *, anchor: str, size: int = 13) -> None:
    attributes = {
        "x": f"{x:.1f}",
        "y": f"{y:.1f}",
        "text-anchor": anchor,
        "font-size": str(size),
        "fill": _INK,
    }
    ET.SubElement(svg, "text", attributes).text = text
