"""Which charts of a page have changed: drawn anew where they are, or all where there are others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.ui.charts import Chart
from service.ui.live import Change
from service.ui.rendering import fragment


@dataclass(kw_only=True)
class LiveCharts:
    """The charts of one page, as they were told last."""

    target: str
    """The element that holds them."""
    template: str
    """That element, of `charts`."""
    ids: Sequence[str]
    """Of those that the page has; their switches stay as they are."""
    _told: dict[str, Chart] = field(default_factory=dict)

    def changes(self, charts: Sequence[Chart]) -> Iterator[Change]:
        """Yield what changed."""
        ids = chart_ids(charts)
        if tuple(self.ids) != ids:
            self.ids, self._told = ids, {chart.id: chart for chart in charts}
            html = fragment(self.template, charts=charts)
            yield Change(kind="fragment", target=self.target, html=html)
            return
        for chart in charts:
            if self._told.get(chart.id) != chart:
                self._told[chart.id] = chart
                yield Change(kind="figure", target=chart.id, figure=chart.figure)
                html = fragment("_chart_rows.html", chart=chart)
                yield Change(kind="fragment", target=f"{chart.id}-rows", html=html)


def chart_ids(charts: Sequence[Chart]) -> tuple[str, ...]:
    """Return which charts there are: the part that holds them is sent again when that changes."""
    return tuple(chart.id for chart in charts)


def asked_ids(text: str) -> list[str]:
    """Return the charts that a page says it has, as `chart_ids` joined by commas."""
    return [one for one in text.split(",") if one]
