"""What commands share: progress to stderr, results to stdout, errors as one sentence."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from data_shards.errors import DataError, WorkerDiedError, WorkerFailedError

SetLocation = Annotated[
    str,
    typer.Argument(
        metavar="LOCATION", help="Folder of a packed set, as a path or a URL such as s3://a/b."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Processes = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Worker processes.", show_default="one for each core"),
]


class ImagesPerSecond(ProgressColumn):
    """How fast images pass."""

    def render(self, task: Task) -> Text:
        """Return the speed of late."""
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar on stderr with these columns, and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def print_summary(summary: dict[str, object], as_json: bool, *, title: str) -> None:
    """Print a result as JSON, or as a table for people."""
    if as_json:
        typer.echo(json.dumps(summary))
        return
    table = Table(title=title, show_header=False)
    for name, value in summary.items():
        # What there is none of is counted in another row.
        if value != []:
            table.add_row(name.replace("_", " "), Text(for_terminal(_for_people(value))))
    Console().print(table)


def _for_people(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
        case list():
            return "\n".join(": ".join(entry.values()) for entry in value)
        case bool() | None:
            return {True: "yes", False: "no", None: "-"}[value]
        case int() | float():
            return f"{value:,}"
        case _:
            return str(value)


def for_terminal(text: str) -> str:
    """Escape what is no printable character of UTF-8; a name could drive the terminal."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def print_error(message: str) -> None:
    """Say what went wrong, on stderr."""
    Console(stderr=True).print(Text(for_terminal(f"Error: {message}"), style="red"), soft_wrap=True)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Say in a sentence what went wrong, and in another how to go on; end in good order if told to.

    Stopped by Ctrl-C or SIGTERM, the exit code is 130.
    """
    # Like Ctrl-C, so that half-made files go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (DataError, WorkerDiedError, WorkerFailedError, OSError) as error:
        print_error("\n".join([str(error), *getattr(error, "__notes__", [])]))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stop:
        words = "; ".join(["Stopped", *getattr(stop, "__notes__", [])])
        Console(stderr=True).print(Text(for_terminal(words)), soft_wrap=True)
        raise typer.Exit(130) from stop


def num_cores() -> int:
    """Return the cores that this process may use."""
    # Those this process may use; macOS does not tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
