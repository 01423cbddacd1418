"""Events in words. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from service.jobs.events import Edited, JobEventData, Resized, StatusChanged
from service.jobs.records import EventRecord
from service.ui import formats
from trainer.contract.events import (
    CheckpointSaved,
    Evaluated,
    Finished,
    Progress,
    SamplesSkipped,
    Started,
)
from trainer.contract.report_text import PROTOCOLS


@dataclass(frozen=True, kw_only=True)
class ToldEvent:
    """A row of the table."""

    number: int
    at: datetime
    attempt: int | None
    kind: str
    text: str


def told_events(events: Iterable[EventRecord]) -> tuple[ToldEvent, ...]:
    """Put events into words."""
    return tuple(
        ToldEvent(
            number=event.number,
            at=event.at,
            attempt=event.attempt,
            kind=event.data.kind.replace("_", " "),
            text=in_words(event.data),
        )
        for event in events
    )


def in_words(data: JobEventData) -> str:
    """Say what happened."""
    match data:
        case StatusChanged():
            text = _status(data)
        case Resized():
            text = f"replicas: {data.before} before, {data.after} from now on"
        case Edited():
            text = _edited(data.priority, data.labels)
        case Started():
            text = f"training begins after {formats.count(data.start_step)} steps"
        case Progress():
            text = f"step {formats.count(data.step)}: loss {formats.decimal(data.loss)}"
        case Evaluated():
            text = (
                f"step {formats.count(data.step)}, {PROTOCOLS[data.protocol]}: "
                f"top-1 error {formats.percent(1 - data.top1)}, "
                f"top-5 error {formats.percent(1 - data.top5)}, loss {formats.decimal(data.loss)}"
            )
        case CheckpointSaved():
            text = f"after {formats.count(data.step)} steps, {formats.size(data.size_bytes)}"
        case SamplesSkipped():
            text = data.in_words()
        case Finished():
            text = f"{data.outcome} after {formats.count(data.step)} steps"
    return text


def _status(data: StatusChanged) -> str:
    way = data.after if data.before is None else f"{data.before} → {data.after}"
    why = [] if data.reason is None else [data.reason.replace("_", " ")]
    why += [] if data.message is None else [data.message]
    return way.capitalize() + (f": {': '.join(why)}" if why else "")


def _edited(priority: int | None, labels: Mapping[str, str | None]) -> str:
    told = [] if priority is None else [f"priority {priority}"]
    told += [
        f"label {key} removed" if value is None else f"label {key}={value}"
        for key, value in labels.items()
    ]
    return ", ".join(told)
