"""Which rows of a table of jobs have changed: the page's first, then those of jobs that live.

New ones come where the newest are first; in any other order a row stays in its place, and jobs come
and go when the page is loaded again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.access.caller import Caller
from service.jobs.records import JobRecord
from service.steady_clock import now_utc
from service.store.errors import JobNotFoundError, UnreadableJobError
from service.ui.filters import Filters
from service.ui.live import Change, Look
from service.ui.orders import Order
from service.ui.rendering import fragment
from service.ui.rows import JobRow

# The `tbody` of the table.
TABLE = "jobs"


@dataclass(kw_only=True)
class LiveRows:
    """What `live.stream` calls again and again. A job that has ended is read once, and no more."""

    caller: Caller
    filters: Filters
    page: Callable[[], tuple[Sequence[JobRecord], int | None]]
    """Reads what the page shows, and from which job the next page goes on; None: there is none."""
    live: Callable[[], Sequence[JobRecord]]
    """Reads every job that has not ended, of which some cannot be read."""
    job: Callable[[str], JobRecord]
    rows: Callable[[Iterable[JobRecord]], list[JobRow]]
    _shown: dict[str, JobRecord] = field(default_factory=dict)
    """Of those that have not ended, by id, as they were told last."""
    _oldest: int | None = None
    """Where the page ends; None: it was not read yet."""

    def __call__(self) -> Look:
        """Return the rows that changed."""
        if self._oldest is None:
            page, further = self.page()
            # Not by the jobs that it shows: of a page, some may be unreadable.
            self._oldest = further or 0
            changed, gone = list(page), list[str]()
        else:
            changed, gone = self._changed()
        for job in changed:
            if job.is_terminal:
                self._shown.pop(job.id, None)
            else:
                self._shown[job.id] = job
        # The oldest first: each new one is put above the others.
        told = self.rows(sorted(changed, key=lambda job: job.seq))
        return Look(
            changes=[
                *(self._change(row) for row in told),
                *(Change(kind="gone", target=_element(job_id)) for job_id in gone),
            ]
        )

    def _changed(self) -> tuple[list[JobRecord], list[str]]:
        """Return the jobs that changed, and the ids of those that are no more."""
        live = {job.id: job for job in self.live()}
        changed = [job for job in live.values() if self._is_told(job)]
        gone = []
        for job_id in self._shown.keys() - live.keys():
            del self._shown[job_id]
            try:
                changed.append(self.job(job_id))
            except JobNotFoundError:
                gone.append(job_id)
            except UnreadableJobError:
                # Whoever loads the page again is told why.
                continue
        return changed, gone

    def _is_told(self, job: JobRecord) -> bool:
        before = self._shown.get(job.id)
        if before is not None:
            return before != job
        cursor = self.filters.cursor
        return (
            self._takes_new
            and self._oldest is not None
            and job.seq >= self._oldest
            and (cursor is None or job.seq < cursor)
            and self.caller.may_see(job.ownership)
            and self.filters.takes(job)
        )

    @property
    def _takes_new(self) -> bool:
        return self.filters.order is Order.NEWEST

    def _change(self, row: JobRow) -> Change:
        back = f"/ui/{self.filters.query()}"
        # What is ticked by now the page itself keeps.
        html = fragment("_job_row.html", row=row, now=now_utc(), back=back, ticked=())
        into = TABLE if self._takes_new else None
        return Change(kind="fragment", target=_element(row.id), html=html, into=into)


def _element(job_id: str) -> str:
    return f"job-{job_id}"
