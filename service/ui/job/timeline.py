"""What became of a job: a list to read, and a bar to see. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from service.jobs.events import Resized, StatusChanged
from service.jobs.records import AttemptRecord, CheckpointRecord, EventRecord, JobRecord
from service.ui import formats
from service.ui.states import Kind, shown
from trainer.contract.attempt import Reason
from trainer.contract.events import Started

WIDTH = 1000
# Narrower ones could not be seen.
_LEAST = 2.0
_MAX_TICKS = 400
_OUTCOMES: dict[str, Kind] = {
    "succeeded": "good",
    "paused": "hold",
    "cancelled": "off",
    "failed": "bad",
}


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A time in one state."""

    kind: Kind
    text: str
    start: datetime
    end: datetime | None
    """None: it lasts."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the list."""

    at: datetime
    kind: Kind
    title: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A stretch as it is drawn: from where on, and how wide, of WIDTH."""

    x: float
    width: float
    kind: Kind
    title: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happened, the oldest first."""

    stretches: tuple[Stretch, ...]
    checkpoints: tuple[datetime, ...]
    entries: tuple[Entry, ...]

    def bars(self, now: datetime) -> list[Bar]:
        """Place the stretches on a line from the first to now, or to the end."""
        return [
            Bar(
                x=self._x(one.start, now),
                width=max(self._x(one.end or now, now) - self._x(one.start, now), _LEAST),
                kind=one.kind,
                title=f"{one.text}, {formats.age(one.start, one.end or now)}",
            )
            for one in self.stretches
        ]

    def ticks(self, now: datetime) -> list[float]:
        """Place the checkpoints on the same line."""
        return [self._x(at, now) for at in self.checkpoints] if self.stretches else []

    def _x(self, at: datetime, now: datetime) -> float:
        start = self.stretches[0].start
        length_s = max(((self.stretches[-1].end or now) - start).total_seconds(), 1e-3)
        share = (at - start).total_seconds() / length_s
        return round(min(max(share, 0.0), 1.0) * WIDTH, 1)


def timeline(
    job: JobRecord,
    attempts: Iterable[AttemptRecord],
    milestones: Sequence[EventRecord],
    saved: Sequence[CheckpointRecord],
) -> Timeline:
    """Put together what happened; the milestones are in order."""
    told = [_entry(event) for event in milestones]
    entries = [
        *(entry for entry in told if entry is not None),
        *_ends(attempts, told={entry.detail for entry in told if entry is not None}),
        *_checkpoints(saved),
    ]
    return Timeline(
        stretches=tuple(_stretches(job, milestones)),
        checkpoints=tuple(one.saved_at for one in saved[-_MAX_TICKS:]),
        entries=tuple(sorted(entries, key=lambda entry: entry.at)),
    )


def _stretches(job: JobRecord, milestones: Iterable[EventRecord]) -> Iterator[Stretch]:
    changes = [
        (event.at, event.data.after)
        for event in milestones
        if isinstance(event.data, StatusChanged)
    ]
    for (start, status), (end, _) in pairwise(changes):
        state = shown(status)
        yield Stretch(kind=state.kind, text=state.text, start=start, end=end)
    if not job.is_terminal and changes:
        start, status = changes[-1]
        state = shown(status)
        yield Stretch(kind=state.kind, text=state.text, start=start, end=None)


def _entry(event: EventRecord) -> Entry | None:
    match event.data:
        case StatusChanged() as changed:
            state = shown(changed.after)
            why = _why(changed.reason, changed.message)
            return Entry(at=event.at, kind=state.kind, title=state.text, detail=why)
        case Started() as started:
            where = ", ".join(dict.fromkeys(started.devices))
            detail = f"after {formats.count(started.start_step)} steps, on {where}"
            if started.inexact:
                detail += f"; not bit-identical: {', '.join(started.inexact)}"
            title = f"Attempt {event.attempt} trains"
            return Entry(at=event.at, kind="run", title=title, detail=detail)
        case Resized() as resized:
            detail = f"{resized.before} before"
            return Entry(
                at=event.at, kind="busy", title=f"Replicas: {resized.after}", detail=detail
            )
    return None


def _ends(attempts: Iterable[AttemptRecord], told: Collection[str]) -> Iterator[Entry]:
    """Say how attempts ended, but for what a status has told."""
    for one in attempts:
        if one.ended_at is None:
            continue
        outcome = one.outcome
        details = [] if outcome is None else [_why(outcome.reason, outcome.message)]
        if outcome is not None and outcome.step is not None:
            details.append(f"{formats.count(outcome.step)} steps committed")
        yield Entry(
            at=one.ended_at,
            kind="off" if outcome is None else _OUTCOMES[outcome.outcome],
            title=f"Attempt {one.number} {'ended' if outcome is None else outcome.outcome}",
            detail=", ".join(detail for detail in details if detail and detail not in told),
        )


def _why(reason: Reason | None, message: str | None) -> str:
    told = [] if reason is None else [reason.replace("_", " ")]
    return ": ".join(told if message is None else [*told, message])


def _checkpoints(saved: Sequence[CheckpointRecord]) -> Iterator[Entry]:
    """Say of each attempt's checkpoints when the last was saved, and how many there were."""
    for number in dict.fromkeys(one.attempt for one in saved):
        of_attempt = [one for one in saved if one.attempt == number]
        last = of_attempt[-1]
        many = len(of_attempt)
        yield Entry(
            at=last.saved_at,
            kind="good",
            title="Checkpoint" if many == 1 else f"{many} checkpoints",
            detail=f"the last after {formats.count(last.step)} steps, by attempt {number}",
        )
