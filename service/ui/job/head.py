"""What the head of the page says of a job. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from service.access.caller import Caller
from service.jobs.progress import bottleneck
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.rows import Acts, job_row
from service.ui.states import ShownState
from trainer.contract.status import Status


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that stands large, and what it is."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of the page."""

    id: str
    name: str
    state: ShownState
    since: datetime
    """When it came to this state."""
    note: str
    """For people: what it waits for, what failed, what was asked of it."""
    labels: Mapping[str, str]
    owner: str | None
    private: bool
    kind: str
    created_at: datetime
    fraction: float | None
    """None before the first step."""
    advance: str
    """The same in words."""
    figures: tuple[Figure, ...]
    limit: str
    """What takes the time of a step, and what to do; '': not known."""
    acts: Acts


def head(job: JobRecord, caller: Caller) -> Head:
    """Say how a job stands."""
    row = job_row(job, caller)
    told = job.progress
    advance = ""
    if told is not None:
        advance = (
            f"step {formats.count(told.step)} of {formats.count(told.planned_steps)}, "
            f"epoch {told.epoch:.2f}"
        )
    is_limited = job.status is Status.RUNNING and told is not None
    return Head(
        id=job.id,
        name=row.name,
        state=row.state,
        since=job.status_since,
        note=row.note,
        labels=row.labels,
        owner=job.owner,
        private=job.private,
        kind=job.spec.kind,
        created_at=job.created_at,
        fraction=row.fraction,
        advance=advance,
        figures=_figures(job, row.images_per_second, row.eta_s),
        limit=(bottleneck(told) or "") if is_limited and told is not None else "",
        acts=row.acts,
    )


def _figures(
    job: JobRecord, images_per_second: float | None, eta_s: float | None
) -> tuple[Figure, ...]:
    told, measured = job.progress, job.evaluation
    figures = []
    if not job.is_terminal:
        figures.append(Figure(name="Time left", value=formats.duration(eta_s)))
    elif job.started_at is not None and job.finished_at is not None:
        took_s = (job.finished_at - job.started_at).total_seconds()
        figures.append(Figure(name="From start to end", value=formats.duration(took_s)))
    if images_per_second is not None:
        figures.append(Figure(name="Images/s", value=formats.count(images_per_second)))
    if told is not None:
        figures.append(Figure(name="Loss", value=formats.decimal(told.loss)))
    if told is not None and told.learning_rate > 0:
        figures.append(Figure(name="Learning rate ε", value=formats.decimal(told.learning_rate)))
    if measured is not None:
        figures += [
            Figure(name="Top-1 error", value=formats.percent(1 - measured.top1)),
            Figure(name="Top-5 error", value=formats.percent(1 - measured.top5)),
        ]
    return tuple(figures)
