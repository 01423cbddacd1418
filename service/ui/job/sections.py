"""The parts of the page that change while a job lives: each is what a template shows. Pure."""

from dataclasses import dataclass
from typing import Any

from service.access.caller import Caller
from service.jobs.records import JobRecord
from service.ui.charts import Chart
from service.ui.job.checkpoints import checkpoint_table
from service.ui.job.curves import curves
from service.ui.job.facts import Findings, State
from service.ui.job.head import head
from service.ui.job.pictures import artifact_url, pictures
from service.ui.job.published import Published
from service.ui.job.result import result_of
from service.ui.job.timeline import timeline
from service.ui.job.told import told_events


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; it is sent again when its view is another."""

    id: str
    """Of its element; job/ID.html is its template."""
    view: Any


@dataclass(frozen=True, kw_only=True)
class LogChoice:
    """Whose log is shown, and whose could be."""

    job_id: str
    attempts: tuple[int, ...]
    asked: int | None
    """None: the newest's, and those that follow."""


def head_section(job: JobRecord, caller: Caller) -> Section:
    """Return what changes with each step."""
    return Section(id="head", view=head(job, caller))


def quick_sections(state: State, caller: Caller, asked: int | None) -> list[Section]:
    """Return what the store tells at once; `asked`: the attempt whose log is asked for."""
    told = timeline(state.job, state.attempts, state.milestones, state.saved)
    numbers = tuple(one.number for one in state.attempts)
    choice = LogChoice(job_id=state.job.id, attempts=numbers, asked=asked)
    return [
        head_section(state.job, caller),
        Section(id="timeline", view=told),
        Section(id="log_choice", view=choice),
        Section(id="events", view=told_events(state.events)),
    ]


def slow_sections(
    state: State, caller: Caller, found: Findings, asked_step: int | None
) -> list[Section]:
    """Return what takes longer to read, but for the charts; `asked_step`: of the pictures."""
    drawn = pictures(state.job.id, found.drawn, found.classes, asked_step)
    sheet = None if found.sheet is None else artifact_url(state.job.id, found.sheet)
    table = checkpoint_table(state.job, caller, found.kept, found.losses, found.trouble)
    return [
        Section(id="result", view=result_of(found.report)),
        Section(id="pictures", view=drawn),
        Section(id="sheet", view=sheet),
        Section(id="checkpoints", view=table),
    ]


def charts_of(state: State, found: Findings, published: Published) -> list[Chart]:
    """Return the charts."""
    if not published.rows and not published.note:
        # Without a note the chart would speak of lines that it has not.
        published = Published(note="on the validation set")
    return curves(state.job, found.history, published)
