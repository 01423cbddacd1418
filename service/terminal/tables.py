"""Jobs and checkpoints as tables for the terminal."""

from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from service.terminal.follow import last_line, time_left
from service.terminal.printable import printable
from service.views.jobs import Checkpoint, Job, JobDetail
from trainer.contract.report_text import PROTOCOLS
from trainer.contract.status import Status

_STYLES = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.RETRYING: "yellow",
    Status.RUNNING: "cyan",
}


def job_table(jobs: tuple[Job, ...], unreadable: tuple[str, ...] = ()) -> Group:
    """One row a job, and below them why some wait, retry or failed, or cannot be shown."""
    table = Table(box=None, pad_edge=False)
    for heading in ("JOB", "STATUS", "EPOCH", "LOSS", "TOP-1", "AGE", "NAME"):
        table.add_column(heading, overflow="fold")
    notes = []
    for job in jobs:
        table.add_row(
            job.id,
            _status(job.status),
            "" if job.progress is None else f"{job.progress.epoch:.2f}",
            "" if job.progress is None else f"{job.progress.loss:.3f}",
            "" if job.evaluation is None else f"{job.evaluation.top1:.1%}",
            _age(job.created_at),
            Text(job.name),
        )
        if job.message:
            notes.append(Text(f"{job.id}: {last_line(job.message)}", style="dim"))
    notes += [
        Text(f"{job_id}: cannot be read by this release", style="red") for job_id in unreadable
    ]
    return Group(table, *notes)


def detail_table(job: JobDetail) -> Table:
    """All of one job, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("job", job.id)
    table.add_row("name", Text(job.name))
    table.add_row("status", _status(job.status))
    if job.message:
        table.add_row("message", Text(printable(job.message)))
    table.add_row("accepted", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("run directory", Text(job.run_directory))
    if job.progress is not None:
        done = f"{job.progress.step} of {job.progress.planned_steps} steps"
        table.add_row("progress", f"{done}, epoch {job.progress.epoch:.2f}")
        table.add_row("loss", f"{job.progress.loss:.4f}")
        table.add_row("images/s", f"{job.progress.images_per_second:,.0f}")
        if job.status is Status.RUNNING:
            table.add_row("time left", time_left(job.progress))
        if job.progress.bottleneck is not None:
            table.add_row("bottleneck", job.progress.bottleneck)
        if (saved := job.progress.last_checkpoint) is not None:
            when = f"{saved.saved_at:%Y-%m-%d %H:%M:%S} UTC"
            table.add_row("checkpoint", f"after step {saved.step}, {when}")
    if job.evaluation is not None:
        figures = f"{job.evaluation.top1:.2%}, {job.evaluation.top5:.2%}"
        table.add_row("top-1, top-5", f"{figures} ({PROTOCOLS[job.evaluation.protocol]})")
    for attempt in job.attempts:
        outcome = "runs" if attempt.outcome is None else attempt.outcome.outcome
        reason = attempt.outcome.reason if attempt.outcome is not None else None
        source = f"from {attempt.resume_from}" if attempt.resume_from else "from the start"
        how = f"{outcome} ({reason})" if reason else outcome
        table.add_row(f"attempt {attempt.number}", Text(f"{how}, {source}"))
    return table


def checkpoint_table(checkpoints: tuple[Checkpoint, ...]) -> Table:
    """One row a checkpoint."""
    table = Table(box=None, pad_edge=False)
    for heading in ("STEP", "EPOCH", "LOSS", "TOP-1", "MB", "AGE", "KEPT"):
        table.add_column(heading, overflow="fold")
    for one in checkpoints:
        table.add_row(
            str(one.step),
            f"{one.epoch:.2f}",
            "" if one.loss is None else f"{one.loss:.3f}",
            "" if one.top1 is None else f"{one.top1:.1%}",
            f"{one.size_bytes / 1e6:,.1f}",
            _age(one.saved_at),
            Text(", ".join(one.kept_because).replace("_", " ")),
        )
    return table


def _status(status: Status) -> Text:
    return Text(status, style=_STYLES.get(status, ""))


def _age(since: datetime) -> str:
    """Return the time since then in its two largest units, such as 3h 05m."""
    seconds = max(round((datetime.now(UTC) - since).total_seconds()), 0)
    for size, unit, below, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // below:02d}{small}"
    return f"{seconds // 60}m" if seconds >= 60 else f"{seconds}s"
