"""What has changed of jobs that are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.jobs.records import JobRecord
from service.ui.compare_charts import compare_charts
from service.ui.compare_facts import columns_of, result_rows
from service.ui.compared import By, Compared, published_note
from service.ui.live import Change, Look
from service.ui.live_charts import LiveCharts
from service.ui.rendering import fragment


@dataclass(kw_only=True)
class LiveCompare:
    """What `live.stream` calls again and again; it ends with the last of the jobs.

    Of a job that has not changed, as of one that has ended, nothing is read but that.
    """

    jobs: Callable[[], Sequence[JobRecord]]
    read: Callable[[JobRecord], Compared]
    charts: Sequence[str]
    """Ids of those that the page has."""
    by: By = "step"
    _known: dict[str, Compared] = field(default_factory=dict)
    """By the ids of the jobs."""
    _shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each part showed last."""

    def __post_init__(self) -> None:
        """Begin with what the page is known to have."""
        self._drawn = LiveCharts(target="curves", template="_compare_charts.html", ids=self.charts)

    def __call__(self) -> Look:
        """Return what changed."""
        jobs = self.jobs()
        compared = [self._compared(job) for job in jobs]
        parts: dict[str, tuple[str, dict[str, Any]]] = {
            "chosen": ("_compare_jobs.html", {"columns": columns_of(jobs), "by": self.by}),
            "results": (
                "_compare_results.html",
                {"results": result_rows(compared), "results_note": published_note(compared)},
            ),
        }
        changes: list[Change] = []
        for target, (template, view) in parts.items():
            if self._shown.get(target) != view:
                self._shown[target] = view
                html = fragment(template, **view)
                changes.append(Change(kind="fragment", target=target, html=html))
        changes += self._drawn.changes(compare_charts(compared, self.by))
        return Look(changes=changes, is_last=all(job.is_terminal for job in jobs))

    def _compared(self, job: JobRecord) -> Compared:
        known = self._known.get(job.id)
        if known is None or known.job != job:
            known = self._known[job.id] = self.read(job)
        return known
