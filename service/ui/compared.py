"""A job that is compared, and how its curves lie and look beside the others'. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.jobs.history import History, HistoryPoint
from service.jobs.records import JobRecord
from service.ui.job.published import Published
from trainer.contract.events import Evaluated
from trainer.contract.published import ComparedResult

# Told apart by more than colour.
_DASHES = ("solid", "dash", "dot", "dashdot")
# Of a table, for each job.
MAX_ROWS = 24
# More points of a line hide it.
MAX_MARKED = 40

By = Literal["step", "epoch", "images"]
AXES: Mapping[By, str] = {"step": "Step", "epoch": "Epoch", "images": "Images trained on"}
"""What curves may go by. Steps of different batch sizes are not alike; epochs and images are."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A job, its history, and what is published of networks like its own."""

    job: JobRecord
    history: History
    published: Published
    num_samples: int | None = None
    """Of the set that it goes through; None: it is not known."""

    @property
    def title(self) -> str:
        """Name and id: names are not unique."""
        return f"{self.job.spec.name} ({self.job.id})"

    def along(self, by: By, place: HistoryPoint | Evaluated) -> float:
        """Return where a place in the job's history lies on an axis."""
        if by == "epoch":
            return place.epoch
        return self._num_images(place.step) if by == "images" else place.step

    def _num_images(self, step: int) -> int:
        """Return how many images so many steps take; the last of an epoch takes what is left."""
        batch = self.job.spec.optim.global_batch_size
        if not self.num_samples:
            return step * batch
        epochs, of_epoch = divmod(step, -(-self.num_samples // batch))
        return epochs * self.num_samples + of_epoch * batch


def published_rows(compared: Sequence[Compared]) -> list[ComparedResult]:
    """Return what is published of networks like the jobs', each once."""
    return list(dict.fromkeys(row for one in compared for row in one.published.rows))


def published_note(compared: Sequence[Compared]) -> str:
    """Say why nothing published stands beside some of the jobs; '': it does beside all."""
    return " ".join(dict.fromkeys(one.published.note for one in compared if one.published.note))


def style(place: int) -> dict[str, Any]:
    """Return how the line of the job at a place among them looks."""
    return {"color": colour(place), "dash": _DASHES[place % len(_DASHES)]}


def colour(place: int) -> str:
    """Return its colour."""
    return f"var(--series-{place + 1})"
