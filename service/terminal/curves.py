"""Loss and images/s by step, drawn in the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotext
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from service.views.history import MetricHistory
from service.views.jobs import JobProgress

# Two curves, the bar and its figures in a terminal of 24 lines.
PLOT_LINES = 9
MAX_WIDTH = 120
# Braille has two dots a column: more points than these cannot be told apart.
MAX_POINTS = 2 * MAX_WIDTH


@dataclass(frozen=True)
class CurvePoint:
    """What is drawn of a step."""

    step: int
    loss: float
    images_per_second: float


class Curves:
    """Grows as a job goes on; a renderable."""

    def __init__(self, history: MetricHistory) -> None:
        self._points = [
            CurvePoint(
                step=point.step,
                loss=point.values["loss"].mean,
                images_per_second=point.values["images_per_second"].mean,
            )
            for point in history.points
        ]

    @property
    def steps(self) -> list[int]:
        """Those that are drawn, in order."""
        return [point.step for point in self._points]

    def add(self, progress: JobProgress) -> None:
        """Take what is newest; what is not beyond the last point is known already."""
        if self._points and progress.step <= self._points[-1].step:
            return
        point = CurvePoint(
            step=progress.step, loss=progress.loss, images_per_second=progress.images_per_second
        )
        # A list of its own: another thread may be drawing the one before.
        self._points = _halved([*self._points, point])

    def forget_after(self, step: int) -> None:
        """Drop what is done again."""
        self._points = [point for point in self._points if point.step <= step]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; without two points there is no curve."""
        points = self._points
        if len(points) < 2:
            return
        width = min(options.max_width, MAX_WIDTH)
        steps = [point.step for point in points]
        losses = [point.loss for point in points]
        rates = [point.images_per_second for point in points]
        yield _plot("loss", steps, losses, width=width, style="cyan")
        yield _plot("images/s", steps, rates, width=width, style="green")


def _plot(
    title: str, steps: Sequence[int], values: Sequence[float], *, width: int, style: str
) -> Text:
    # It draws on one figure of the module's.
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, PLOT_LINES)
    plotext.title(title)
    middle = (steps[0] + steps[-1]) // 2
    ticks = sorted({steps[0], middle, steps[-1]})
    plotext.xticks(ticks, [f"{tick:,}" for tick in ticks])
    plotext.plot(list(steps), list(values), marker="braille")
    drawn = Text.from_ansi(plotext.build().rstrip("\n"), no_wrap=True)
    drawn.style = style
    return drawn


def _halved(points: list[CurvePoint]) -> list[CurvePoint]:
    """Leave every other point out once there are twice as many as can be told apart."""
    return points if len(points) <= 2 * MAX_POINTS else [*points[:-1:2], points[-1]]
