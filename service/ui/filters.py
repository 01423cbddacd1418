"""Which jobs the table shows. Pure."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2s
from urllib.parse import urlencode

from service.api.dependencies import MAX_INTEGER
from service.jobs.records import JobRecord
from service.ui.orders import Order
from trainer.contract.status import Status

# As the spec has them.
_LABEL = re.compile(r"([a-z0-9][a-z0-9._-]{0,62})=([A-Za-z0-9 ._-]{0,80})")
_CURSOR = re.compile(r"[1-9][0-9]{0,9}")
# Each is a join.
MAX_LABELS = 16


class FilterError(ValueError):
    """The labels are not written as they can be asked for; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What was asked for."""

    status: Status | None = None
    label: str = ""
    """KEY=VALUE, several with commas between."""
    q: str = ""
    """In a name, or at the start of an id."""
    owner: str = ""
    order: Order = Order.NEWEST
    cursor: int | None = None
    """Only jobs that came before that one, or after it where the oldest are first; in another
    order: so many come before."""
    ticked: tuple[str, ...] = ()
    """Ids of the jobs to compare, shown or not."""

    @cached_property
    def labels(self) -> list[tuple[str, str]]:
        """Return the labels that all jobs must have. Raises FilterError."""
        texts = [text.strip() for text in self.label.split(",") if text.strip()]
        found = [_LABEL.fullmatch(text) for text in dict.fromkeys(texts)]
        if None in found or len(found) > MAX_LABELS:
            raise FilterError(
                f"write KEY=VALUE, as in team=vision; of several, {MAX_LABELS} at most, with "
                "commas between"
            )
        return [(one[1], one[2]) for one in found if one is not None]

    @property
    def is_any(self) -> bool:
        """Whether nothing is asked for but a page, in whatever order."""
        asked = self.status, self.label.strip(), self.q.strip(), self.owner
        return not any(asked)

    def query(self) -> str:
        """Return the address's query of these filters; empty where nothing is asked for."""
        page = "" if self.cursor is None else self.page(self.cursor)
        given = {**self._asked, "cursor": page, "job": self.ticked}
        given = {key: value for key, value in given.items() if value}
        return f"?{urlencode(given, doseq=True)}" if given else ""

    def page(self, cursor: int) -> str:
        """Return a page of these jobs as addresses have it: its cursor, and whose that is."""
        return f"{cursor}-{self._mark}"

    def turned_to(self, page: str) -> "Filters":
        """Return these at a page; at the first where that page is of other jobs, or another order.

        A form sends what was edited in it together with the page that follows on what is shown.
        """
        cursor, _, mark = page.partition("-")
        is_number = _CURSOR.fullmatch(cursor) is not None and int(cursor) <= MAX_INTEGER
        return replace(self, cursor=int(cursor) if is_number and mark == self._mark else None)

    @property
    def _asked(self) -> dict[str, object]:
        """Return what makes one table another, by the names that addresses have for it."""
        return {
            "status": self.status,
            "label": self.label.strip(),
            "q": self.q.strip(),
            "owner": self.owner,
            "order": "" if self.order is Order.NEWEST else self.order,
        }

    @property
    def _mark(self) -> str:
        return blake2s(urlencode(self._asked).encode(), digest_size=4).hexdigest()

    def takes(self, job: JobRecord) -> bool:
        """Whether a job is among those that are asked for, on whatever page."""
        return (
            (self.status is None or job.status is self.status)
            and (not self.owner or job.owner == self.owner)
            and all(job.spec.labels.get(key) == value for key, value in self.labels)
            and is_named(job, self.q)
        )


def is_named(job: JobRecord, text: str) -> bool:
    """Whether a text is in a job's name, in whatever case, or begins its id."""
    sought = text.strip().lower()
    return sought in job.spec.name.lower() or job.id.startswith(sought)
