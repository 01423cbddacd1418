"""`verify`."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from data_shards.commands.console import (
    AsJson,
    Processes,
    SetLocation,
    errors_for_people,
    num_cores,
    print_summary,
    progress_bar,
)
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.verify import verify


class _Amount(ProgressColumn):
    """How much is done, of how much, and how fast."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return it in bytes or images, whatever the task counts."""
        shown = decimal if task.fields["unit"] == "bytes" else "{:,}".format
        speed = f" {shown(round(task.speed))}/s" if task.speed else ""
        return Text(f"{shown(round(task.completed))} of {shown(round(task.total or 0))}{speed}")


def verify_command(
    location: SetLocation,
    *,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every image too, and count what is corrupt.")
    ] = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Digest every file of a packed set and name all that is wrong; exit code 1 then."""
    with errors_for_people():
        opened = open_set(location)
        manifest = opened.manifest
        with progress_bar(_Amount()) as progress:
            digested = progress.add_task("Digesting", total=manifest.size_bytes, unit="bytes")
            decoded = progress.add_task(
                "Decoding", total=manifest.num_samples, unit="images", visible=decode
            )
            findings = verify(
                opened,
                num_processes=processes or num_cores(),
                decode=decode,
                on_bytes=lambda count: progress.advance(digested, count),
                on_samples=lambda count: progress.advance(decoded, count),
            )
    problems = findings.problems
    summary: dict[str, object] = {
        "location": opened.folder.location,
        "ok": not problems,
        "num_files": len(manifest.files),
        "num_samples": manifest.num_samples,
        "size_bytes": manifest.size_bytes,
        "problems": [{"file": each.file, "problem": each.problem} for each in problems],
    }
    if as_json and decode:
        # For people they are among the problems.
        summary["corrupt"] = [asdict(each) for each in findings.corrupt]
    print_summary(summary, as_json, title="Not as packed" if problems else "All as packed")
    if problems:
        raise typer.Exit(1)
