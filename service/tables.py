"""Jobs and checkpoints as tables for the terminal."""

from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from service.follow import time_left
from service.views import Checkpoint, Job, JobDetail
from trainer.contract.status import Status

_STYLES = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.RETRYING: "yellow",
    Status.RUNNING: "cyan",
}


def job_table(jobs: tuple[Job, ...]) -> Table:
    """One line a job."""
    table = Table(box=None, pad_edge=False)
    for heading in ("JOB", "NAME", "STATUS", "EPOCH", "LOSS", "TOP-1", "AGE", "MESSAGE"):
        table.add_column(heading, no_wrap=heading != "MESSAGE", overflow="fold")
    for job in jobs:
        table.add_row(
            job.id,
            Text(job.name),
            _status(job.status),
            "" if job.progress is None else f"{job.progress.epoch:.2f}",
            "" if job.progress is None else f"{job.progress.loss:.3f}",
            "" if job.evaluation is None else f"{job.evaluation.top1:.1%}",
            _age(job.created_at),
            Text(_first_line(job.message)),
        )
    return table


def detail_table(job: JobDetail) -> Table:
    """All of one job, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("job", job.id)
    table.add_row("name", Text(job.name))
    table.add_row("status", _status(job.status))
    if job.message:
        table.add_row("message", Text(job.message))
    table.add_row("accepted", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("run directory", Text(job.run_directory))
    if job.progress is not None:
        done = f"{job.progress.step} of {job.progress.planned_steps} steps"
        table.add_row("progress", f"{done}, epoch {job.progress.epoch:.2f}")
        table.add_row("loss", f"{job.progress.loss:.4f}")
        table.add_row("images/s", f"{job.progress.images_per_second:,.0f}")
        if job.status is Status.RUNNING:
            left = time_left(job.progress, job.spec.optim.global_batch_size)
            table.add_row("time left", left)
    if job.evaluation is not None:
        table.add_row("top-1, top-5", f"{job.evaluation.top1:.2%}, {job.evaluation.top5:.2%}")
    for attempt in job.attempts:
        outcome = "runs" if attempt.outcome is None else attempt.outcome.outcome
        reason = attempt.outcome.reason if attempt.outcome is not None else None
        source = f"from {attempt.resume_from}" if attempt.resume_from else "from the start"
        how = f"{outcome} ({reason})" if reason else outcome
        table.add_row(f"attempt {attempt.number}", Text(f"{how}, {source}"))
    return table


def checkpoint_table(checkpoints: tuple[Checkpoint, ...]) -> Table:
    """One line a checkpoint."""
    table = Table(box=None, pad_edge=False)
    for heading in ("STEP", "EPOCH", "TOP-1", "SIZE", "SAVED", "PATH"):
        table.add_column(heading, no_wrap=heading != "PATH", overflow="fold")
    for one in checkpoints:
        table.add_row(
            str(one.step),
            f"{one.epoch:.2f}",
            "" if one.top1 is None else f"{one.top1:.1%}",
            f"{one.size_bytes / 1e6:,.1f} MB",
            f"{one.saved_at:%Y-%m-%d %H:%M:%S}",
            Text(one.path),
        )
    return table


def _status(status: Status) -> Text:
    return Text(status, style=_STYLES.get(status, ""))


def _age(since: datetime) -> str:
    return str(timedelta(seconds=max(round((datetime.now(UTC) - since).total_seconds()), 0)))


def _first_line(message: str | None) -> str:
    return message.splitlines()[0] if message else ""
