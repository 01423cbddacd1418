"""A job in the terminal, live: its curves where there is room, a bar, and its figures."""

from collections.abc import Iterable
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from service.client.client import Client
from service.jobs.events import StatusChanged
from service.terminal.curves import Curves
from service.terminal.options import errors
from service.terminal.printable import printable
from service.views.jobs import Event, JobDetail, JobProgress, LiveProgress
from trainer.contract import events


def follow(client: Client, job_id: str, console: Console, *, curves: bool = False) -> JobDetail:
    """Show the job until it has ended; return it as it ended.

    What happened before is taken in first, so that one can join late or again. `curves`: draw loss
    and images/s above the bar, where the console is a terminal.
    """
    client.get(job_id)  # What is wrong is told before anything is drawn.
    drawn = Curves(client.history(job_id)) if curves and console.is_terminal else None
    with _bar(console, drawn) as bar:
        task = bar.add_task(job_id, total=None, doing="", figures="")
        view = _View(bar, task, drawn)
        for told in client.follow(job_id):
            view.take(told)
    return client.get(job_id)


class _Bar(Progress):
    """Curves, a bar, and the figures on a line below, so that all fit into 80 columns."""

    curves: Curves | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give them from top to bottom."""
        if self.curves is not None:
            yield self.curves
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["figures"])


def _bar(console: Console, curves: Curves | None) -> Progress:
    bar = _Bar(
        TextColumn("{task.fields[doing]}", style="bold"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=console,
        # Curves are drawn anew each time.
        refresh_per_second=2 if curves is not None else 10,
    )
    bar.curves = curves
    return bar


class _View:
    def __init__(self, bar: Progress, task: TaskID, curves: Curves | None) -> None:
        self._bar = bar
        self._task = task
        self._curves = curves
        self._progress: JobProgress | None = None
        self._evaluation: events.Evaluated | None = None

    def take(self, told: Event | LiveProgress) -> None:
        """Show what is new."""
        if isinstance(told, LiveProgress):
            self._take_progress(told.progress)
        else:
            self._take_event(told)
        self._bar.update(self._task, figures=self._figures())

    def _take_progress(self, progress: JobProgress) -> None:
        self._progress = progress
        self._bar.update(self._task, total=progress.planned_steps, completed=progress.step)
        if self._curves is not None:
            self._curves.add(progress)

    def _take_event(self, event: Event) -> None:
        match event.data:
            case StatusChanged():
                self._say(event.data)
            case events.Started():
                self._bar.update(
                    self._task, total=event.data.planned_steps, completed=event.data.start_step
                )
                if self._curves is not None:
                    self._curves.forget_after(event.data.start_step)
                if event.data.inexact:
                    changes = "; ".join(event.data.inexact)
                    self._bar.console.print(Text(f"not bit-exact: {changes}", style="yellow"))
            case events.Evaluated():
                self._evaluation = event.data
            case events.SamplesSkipped():
                self._bar.console.print(Text(event.data.in_words(), style="yellow"))

    def _say(self, change: StatusChanged) -> None:
        self._bar.update(self._task, doing=change.after)
        line = Text(f"{change.after:<10}", style="bold")
        if change.message:
            line.append(f" {last_line(change.message)}", style="not bold")
        self._bar.console.print(line)

    def _figures(self) -> str:
        parts = []
        if self._progress is not None:
            parts = [f"epoch {self._progress.epoch:.2f}", f"loss {self._progress.loss:.3f}"]
        if self._evaluation is not None:
            parts.append(f"top-1 {self._evaluation.top1:.1%}")
        if self._progress is not None:
            parts.append(f"{self._progress.images_per_second:,.0f} images/s")
            parts.append(f"ETA {time_left(self._progress)}")
        return "  ".join(parts)


def say_it_goes_on(job_id: str) -> None:
    """Tell whoever no longer waits for a job what becomes of it."""
    errors.print(f"the job goes on; `alexnet cancel {job_id}` ends it", markup=False)


def last_line(message: str) -> str:
    """Return what a message comes to: of a crash it is the end of a log, whose last line says."""
    return printable(message.strip().splitlines()[-1]) if message.strip() else ""


def time_left(progress: JobProgress) -> str:
    """Return the time to the end, as H:MM:SS; a question mark where it is unknown."""
    return "?" if progress.eta_s is None else str(timedelta(seconds=round(progress.eta_s)))
