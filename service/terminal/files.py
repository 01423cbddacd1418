"""`alexnet logs` and `alexnet checkpoints`: what attempts printed, and what they saved."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.client.client import Client
from service.client.download import OnProgress, download_checkpoint
from service.client.files import AttemptChoice
from service.client.jobs import DEFAULT_URL
from service.errors import UserError
from service.terminal.options import AsJson, JobId, Url, console, errors, print_answer
from service.terminal.printable import printable
from service.terminal.tables import checkpoint_table
from service.views.files import LogText
from service.views.jobs import CheckpointList


class UsageError(UserError):
    """Options that do not go together, or name nothing."""


def logs(
    job_id: JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, max=100_000, help="Begin with the last lines.")
    ] = None,
    attempt: Annotated[
        str | None, typer.Option(help="Number of an attempt, or all. Default: the newest.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Print what a job's attempts printed."""
    with Client(url) as client:
        read = client.follow_logs if follow else client.logs
        _print(read(job_id, attempt=_attempt(attempt), tail=tail), as_json=as_json)


def _attempt(option: str | None) -> AttemptChoice:
    if option is None or option == "all":
        return "all" if option else None
    if not (option.isascii() and option.isdecimal()):
        raise UsageError(f"--attempt {option} is no number of an attempt; give one, or all")
    return int(option)


def _print(texts: Iterator[LogText], *, as_json: bool) -> None:
    # A file is given what was printed; only a terminal would act on it.
    shown = printable if sys.stdout.isatty() else str
    before: LogText | None = None
    for text in texts:
        if as_json:
            sys.stdout.write(text.model_dump_json() + "\n")
        else:
            if before is not None and before.attempt != text.attempt:
                newline = "" if before.text.endswith("\n") else "\n"
                sys.stdout.write(f"{newline}==> attempt {text.attempt} <==\n")
            sys.stdout.write(shown(text.text))
        sys.stdout.flush()
        before = text


def checkpoints(
    job_id: JobId,
    *,
    download: Annotated[int | None, typer.Option(metavar="STEP", help="Download this one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file, for a tar; or a folder that is there."),
    ] = None,
    pin: Annotated[
        int | None, typer.Option(metavar="STEP", help="Keep this one until it is unpinned.")
    ] = None,
    unpin: Annotated[
        int | None, typer.Option(metavar="STEP", help="Let this one go again.")
    ] = None,
    delete: Annotated[int | None, typer.Option(metavar="STEP", help="Delete this one.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List, download, pin or delete the checkpoints of a job.

    The oldest is first. A download that breaks off is gone on with by the same command.
    """
    if sum(step is not None for step in (download, pin, unpin, delete)) > 1:
        raise UsageError("give one of --download, --pin, --unpin and --delete")
    if output is not None and download is None:
        raise UsageError("--output goes with --download")
    with Client(url) as client:
        if download is not None:
            target = output or Path(f"{job_id}-step-{download:08d}.tar")
            with _bar() as on_progress:
                path = download_checkpoint(
                    client, job_id, download, target, on_progress=on_progress
                )
            if as_json:
                sys.stdout.write(json.dumps({"path": str(path)}) + "\n")
            else:
                console.print(str(path), markup=False, highlight=False, soft_wrap=True)
            return
        if pin is not None:
            client.pin_checkpoint(job_id, pin)
        if unpin is not None:
            client.unpin_checkpoint(job_id, unpin)
        if delete is not None:
            client.delete_checkpoint(job_id, delete)
        kept = CheckpointList(checkpoints=client.checkpoints(job_id))
    shown = checkpoint_table(kept.checkpoints) if kept.checkpoints else "no checkpoints"
    print_answer(kept, as_json, lambda: console.print(shown))


@contextmanager
def _bar() -> Iterator[OnProgress]:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    # Beside the output, which names the file.
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)
