"""A job in the terminal, live: a bar, and epoch, loss, top-1, images/s and time left."""

from collections.abc import Iterable
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from service.client import Client
from service.jobs.events import StatusChanged
from service.views import Event, JobDetail
from trainer.contract import events


def follow(client: Client, job_id: str, console: Console) -> JobDetail:
    """Show the job until it has ended; return it as it ended.

    What happened before is taken in first, so that one can join late or again.
    """
    global_batch_size = client.get(job_id).spec.optim.global_batch_size
    with _bar(console) as bar:
        task = bar.add_task(job_id, total=None, doing="", figures="")
        view = _View(bar, task, global_batch_size)
        for event in client.follow(job_id):
            view.take(event)
    return client.get(job_id)


class _Bar(Progress):
    """A bar with the figures on a line below, so that both fit into 80 columns."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give the two lines."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["figures"])


def _bar(console: Console) -> Progress:
    return _Bar(
        TextColumn("{task.fields[doing]}", style="bold"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=console,
    )


class _View:
    def __init__(self, bar: Progress, task: TaskID, global_batch_size: int) -> None:
        self._bar = bar
        self._global_batch_size = global_batch_size
        self._task = task
        self._progress: events.Progress | None = None
        self._evaluation: events.Evaluated | None = None

    def take(self, event: Event) -> None:
        """Show what an event changes."""
        match event.data:
            case StatusChanged():
                self._say(event.data)
            case events.Started():
                self._bar.update(
                    self._task, total=event.data.planned_steps, completed=event.data.start_step
                )
                if event.data.inexact:
                    changes = "; ".join(event.data.inexact)
                    self._bar.console.print(Text(f"not bit-exact: {changes}", style="yellow"))
            case events.Progress():
                self._progress = event.data
                self._bar.update(
                    self._task, total=event.data.planned_steps, completed=event.data.step
                )
            case events.Evaluated():
                self._evaluation = event.data
            case events.SamplesSkipped():
                self._bar.console.print(Text(event.data.in_words(), style="yellow"))
        self._bar.update(self._task, figures=self._figures())

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
            parts.append(f"ETA {time_left(self._progress, self._global_batch_size)}")
        return "  ".join(parts)


def last_line(message: str) -> str:
    """Return what a message comes to: of a crash it is the end of a log, whose last line says."""
    return message.strip().splitlines()[-1] if message.strip() else ""


def time_left(progress: events.Progress, global_batch_size: int) -> str:
    """Return the time to the last step at the present rate, as H:MM:SS; without evaluations."""
    if progress.images_per_second <= 0:
        return "?"
    images = (progress.planned_steps - progress.step) * global_batch_size
    return str(timedelta(seconds=round(images / progress.images_per_second)))
