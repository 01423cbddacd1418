"""What has changed on a job's page since the last look."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.jobs.records import JobRecord
from service.steady_clock import now_utc
from service.ui.charts import Chart
from service.ui.job.facts import Pulse
from service.ui.job.log import LogReader
from service.ui.job.sections import Section
from service.ui.job.shared import SLOW_EVERY_S
from service.ui.live import Change, Look
from service.ui.live_charts import LiveCharts
from service.ui.rendering import fragment


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is to be shown, as it was read at once."""

    sections: Sequence[Section]
    charts: Sequence[Chart] | None = None
    """None: they were not read."""
    is_current: bool = True
    """Whether nothing has happened since it was read."""


@dataclass(kw_only=True)
class LiveJob:
    """What `live.stream` calls again and again; the first look sends the whole page again.

    So a page that was cut off has missed nothing when it comes back.
    """

    pulse: Callable[[], Pulse]
    head: Callable[[JobRecord], Section]
    """The part that changes with each step."""
    quick: Callable[[], Seen]
    """Reads what the store tells at once."""
    slow: Callable[[Pulse], Seen | None]
    """Reads everything, or takes what others read; None: there is nothing newer."""
    log: LogReader
    charts: Sequence[str] = ()
    """Ids of those that the page has; their switches stay as they are."""
    clock: Callable[[], float] = time.monotonic
    _pulse: Pulse | None = None
    _owes: bool = True
    """Whether something changed since all was read."""
    _read_at: float = 0.0
    _shown: dict[str, Any] = field(default_factory=dict)
    """Views by section."""

    def __post_init__(self) -> None:
        """Begin with what the page is known to have."""
        self._drawn = LiveCharts(target="curves", template="job/curves.html", ids=self.charts)

    def __call__(self) -> Look:
        """Return what changed."""
        before, pulse = self._pulse, self.pulse()
        job, newest = pulse
        is_due = before is None or job.is_terminal or self.clock() - self._read_at >= SLOW_EVERY_S
        self._pulse, self._owes = pulse, self._owes or pulse != before
        changes: list[Change] = []
        if self._owes and is_due and (seen := self.slow(pulse)) is not None:
            changes += self._differences(seen)
            if seen.is_current:
                self._owes, self._read_at = False, self.clock()
        elif before is not None and newest != before[1]:
            changes += self._differences(self.quick())
        elif pulse != before:
            changes += self._differences(Seen(sections=[self.head(job)]))
        changes += self._of_log(job, is_first=before is None)
        return Look(changes=changes, is_last=job.is_terminal)

    def _differences(self, seen: Seen) -> Iterator[Change]:
        for section in seen.sections:
            if self._shown.get(section.id, ...) != section.view:
                self._shown[section.id] = section.view
                html = fragment(f"job/{section.id}.html", view=section.view, now=now_utc())
                yield Change(kind="fragment", target=section.id, html=html)
        if seen.charts is not None:
            yield from self._drawn.changes(seen.charts)

    def _of_log(self, job: JobRecord, *, is_first: bool) -> Iterator[Change]:
        # Attempts are numbered without gaps.
        text = self.log.read(range(1, job.attempt + 1), is_over=job.is_terminal)
        if is_first:
            shown = fragment("job/log_text.html", text=text, trouble=self.log.trouble)
            yield Change(kind="fragment", target="log-text", html=shown)
        elif text:
            yield Change(
                kind="append", target="log-text", html=fragment("job/lines.html", text=text)
            )
