"""`verify`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, TransferSpeedColumn

from data_shards.commands.console import (
    AsJson,
    Processes,
    errors_for_people,
    num_cores,
    print_summary,
    progress_bar,
)
from data_shards.inspection.verify import verify
from data_shards.manifest import load_manifest


def verify_command(
    out: Annotated[Path, typer.Argument(help="Folder of a packed set.")],
    *,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Digest every file of a packed set and name all that is wrong; exit code 1 then."""
    with errors_for_people():
        manifest = load_manifest(out)
        with progress_bar(DownloadColumn(), TransferSpeedColumn()) as progress:
            bar = progress.add_task("Verifying", total=manifest.size_bytes)
            problems = verify(
                out,
                manifest,
                num_processes=processes or num_cores(),
                on_bytes=lambda count: progress.advance(bar, count),
            )
    summary: dict[str, object] = {
        "out": str(out),
        "ok": not problems,
        "num_files": len(manifest.files),
        "num_samples": manifest.num_samples,
        "size_bytes": manifest.size_bytes,
        "problems": [{"file": each.file, "problem": each.problem} for each in problems],
    }
    print_summary(summary, as_json, title="Not as packed" if problems else "All as packed")
    if problems:
        raise typer.Exit(1)
