"""Which jobs the table shows. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from service.jobs.records import JobRecord
from trainer.contract.status import Status

# As the spec has them.
_LABEL = re.compile(r"([a-z0-9][a-z0-9._-]{0,62})=([A-Za-z0-9 ._-]{0,80})")
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
    cursor: int | None = None
    """Only jobs that came before that one."""

    @property
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
        """Whether nothing is asked for but a page."""
        return self.status is None and not self.label.strip() and not self.q.strip()

    def query(self, **changed: object) -> str:
        """Return the address's query of these filters with changes; empty where there is none."""
        asked: dict[str, object] = {
            "status": self.status,
            "label": self.label.strip(),
            "q": self.q.strip(),
            "cursor": self.cursor,
        }
        given = {key: str(value) for key, value in (asked | changed).items() if value}
        return f"?{urlencode(given)}" if given else ""

    def takes(self, job: JobRecord) -> bool:
        """Whether a job is among those that are asked for."""
        return (
            (self.status is None or job.status is self.status)
            and all(job.spec.labels.get(key) == value for key, value in self.labels)
            and is_named(job, self.q)
            and (self.cursor is None or job.seq < self.cursor)
        )


def is_named(job: JobRecord, text: str) -> bool:
    """Whether a text is in a job's name, in whatever case, or begins its id."""
    sought = text.strip().lower()
    return sought in job.spec.name.lower() or job.id.startswith(sought)
