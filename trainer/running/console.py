"""A line of progress in the terminal, for training without the service."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainer.contract import events
from trainer.contract.report_text import PROTOCOLS


class ProgressLine:
    """Shows an attempt's events; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, event: events.AttemptEventData) -> None:
        """Move the bar, or print a line above it."""
        match event:
            case events.Started():
                self._task = self._bar.add_task(
                    "", total=event.planned_steps, completed=event.start_step, figures=""
                )
                if event.inexact:
                    changes = "; ".join(event.inexact)
                    self._console.print(f"not bit-exact: {changes}", markup=False, soft_wrap=True)
            case events.Progress() if self._task is not None:
                self._bar.update(
                    self._task,
                    # Of a calibration it is known better and better.
                    total=event.planned_steps,
                    completed=event.step,
                    figures=_figures(event),
                )
            case events.Evaluated():
                self._console.print(
                    f"epoch {event.epoch:.2f}: top-1 {event.top1:.4f}, top-5 {event.top5:.4f}, "
                    f"loss {event.loss:.4f} on {event.num_samples} images, "
                    f"{PROTOCOLS[event.protocol]}"
                )
            case events.SamplesSkipped():
                # Names are other people's: never read as rich's markup.
                self._console.print(f"step {event.step}: {event.in_words()}", markup=False)
            case _:
                pass


def _figures(event: events.Progress) -> str:
    return f"epoch {event.epoch:.2f}  loss {event.loss:.4f}  {event.images_per_second:.0f} images/s"
