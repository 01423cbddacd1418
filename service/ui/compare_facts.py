"""What jobs came to, and how their specs differ, side by side. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.progress import fraction
from service.jobs.records import JobRecord
from service.ui import formats
from service.ui.compared import Compared, published_rows
from service.ui.states import ShownState, shown
from trainer.contract.events import Evaluated
from trainer.contract.report_text import PROTOCOLS

MIN_JOBS, MAX_JOBS = 2, 8


@dataclass(frozen=True, kw_only=True)
class Column:
    """A job of the comparison."""

    id: str
    name: str
    state: ShownState
    advance: str
    took: str
    others: tuple[str, ...]
    """Ids that are left without it."""


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A measurement, a job's or a published one."""

    name: str
    views: str
    top1_error: str
    top5_error: str
    loss: str
    epoch: str
    is_own: bool


@dataclass(frozen=True, kw_only=True)
class SpecRow:
    """A key of the specs."""

    path: str
    values: tuple[str, ...]
    """Of each job; NONE: its spec has no such key."""

    @property
    def differs(self) -> bool:
        """Whether not all are the same."""
        return len(set(self.values)) > 1


def problem_with(ids: Sequence[str], unknown: Sequence[str]) -> str:
    """Say what is wrong with what is to be compared; '': nothing, or nothing was asked for yet."""
    if unknown:
        which = "is no job" if len(unknown) == 1 else "are no jobs"
        return f"{', '.join(unknown)} {which} that you can see; give other ids"
    if len(ids) == 1:
        return "one job is nothing to compare; add another"
    if len(ids) > MAX_JOBS:
        return f"{len(ids)} jobs are too many to tell apart; choose {MAX_JOBS} at most"
    return ""


def columns_of(jobs: Sequence[JobRecord]) -> list[Column]:
    """Head the columns."""
    return [
        Column(
            id=job.id,
            name=job.spec.name,
            state=shown(job.status),
            advance=_advance(job),
            took=_took(job),
            others=tuple(one.id for one in jobs if one.id != job.id),
        )
        for job in jobs
    ]


def result_rows(compared: Sequence[Compared]) -> list[ResultRow]:
    """Return each job's last measurement by its views, then what is published."""
    own = [
        ResultRow(
            name=one.title,
            views=PROTOCOLS[measured.protocol],
            top1_error=formats.percent(1 - measured.top1),
            top5_error=formats.percent(1 - measured.top5),
            loss=f"{measured.loss:.3f}",
            epoch=f"{measured.epoch:.2f}",
            is_own=True,
        )
        for one in compared
        for measured in _last(one.history.evaluations)
    ]
    published = [
        ResultRow(
            name=f"{row.network} ({row.source})",
            views=PROTOCOLS[row.protocol],
            top1_error=formats.percent(row.top1_error),
            top5_error=formats.percent(row.top5_error),
            loss=formats.NONE,
            epoch=formats.NONE,
            is_own=False,
        )
        for row in published_rows(compared)
    ]
    # Beside nothing they say nothing.
    return [*own, *published] if own else []


def spec_rows(jobs: Sequence[JobRecord]) -> list[SpecRow]:
    """Return every key that a spec of the jobs has, in the order of the spec."""
    flat = [dict(_flat(job.spec.model_dump(mode="json"))) for job in jobs]
    paths = dict.fromkeys(path for one in flat for path in one)
    return [
        SpecRow(path=path, values=tuple(one.get(path, formats.NONE) for one in flat))
        for path in sorted(paths, key=_group(list(paths)))
    ]


def _group(paths: Sequence[str]) -> Any:
    """Keep what belongs together so, where some specs alone have a key."""
    groups = list(dict.fromkeys(path.partition(".")[0] for path in paths))
    return lambda path: groups.index(path.partition(".")[0])


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}.")
        else:
            yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _last(evaluations: Sequence[Evaluated]) -> list[Evaluated]:
    last = {one.protocol: one for one in evaluations}
    return [last[protocol] for protocol in PROTOCOLS if protocol in last]


def _advance(job: JobRecord) -> str:
    told = job.progress
    if told is None:
        return "no step done"
    done = f"{formats.percent(fraction(told))}, epoch {told.epoch:.2f}"
    return f"{done}, step {formats.count(told.step)} of {formats.count(told.planned_steps)}"


def _took(job: JobRecord) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{formats.duration((job.finished_at - job.started_at).total_seconds())} in all"
