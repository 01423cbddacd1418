"""The command line: progress to stderr, a table or JSON to stdout, errors as one sentence."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from data_shards.errors import DataError, WorkerDiedError, WorkerFailedError
from data_shards.fetch import FILES, fetch_fashion_mnist
from data_shards.manifest import load_manifest
from data_shards.pack import PackRequest, pack
from data_shards.sources import open_source
from data_shards.verify import verify

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Processes = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Worker processes.", show_default="one for each core"),
]


def fetch_command(
    dataset: Annotated[Literal["fashion-mnist"], typer.Argument(help="The data set.")],
    out: Annotated[Path, typer.Argument(help="Folder for its files.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder that holds them already, or below it.")
    ] = None,
) -> None:
    """Get a public data set: from a local folder, Debian's package, or torchvision."""
    console = Console(stderr=True)
    with _errors_for_people():
        present = fetch_fashion_mnist(out, source=source, say=console.print)
    state = "were there already" if present else "fetched"
    Console().print(f"{dataset}: {len(FILES)} files {state} in {out}", soft_wrap=True)


def pack_command(
    source: Annotated[
        Path, typer.Argument(help="Folder of a folder for each class, or of Fashion-MNIST's files.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the shards and their manifest.")],
    *,
    split: Annotated[str, typer.Option(help="Name of the split: train, validation, ...")],
    size: Annotated[int, typer.Option(min=1, max=4096, help="Edge of the square, pixels.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 92,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Images in a shard.")] = 1000,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take so many images, chosen by the seed.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the shuffle.")] = 0,
    encoding: Annotated[
        Literal["jpeg", "raw"], typer.Option(help="How images are stored.")
    ] = "jpeg",
    processes: Processes = None,
    force: Annotated[
        bool,
        typer.Option(
            help="Replace what was packed there before; images that changed but kept their size "
            "are not noticed without."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack images into WebDataset shards, squared as the paper did (section 2)."""
    started = time.monotonic()
    with _errors_for_people():
        request = PackRequest(
            source=open_source(source, split),
            split=split,
            size=size,
            encoding=encoding,
            quality=quality,
            samples_per_shard=samples_per_shard,
            limit=limit,
            seed=seed,
        )
        with _progress(MofNCompleteColumn(), _ImagesPerSecond()) as progress:
            bar = progress.add_task(f"Packing {split}", total=request.num_samples)
            manifest, present = pack(
                request,
                out,
                num_processes=processes or _num_cores(),
                force=force,
                on_images=lambda count: progress.advance(bar, count),
            )
            progress.update(bar, completed=request.num_samples)
    seconds = time.monotonic() - started
    summary: dict[str, object] = {
        "out": str(out),
        "split": split,
        "already_packed": present,
        "num_samples": manifest.num_samples,
        "num_classes": len(manifest.classes),
        "num_shards": len(manifest.shards),
        "size_bytes": manifest.size_bytes,
        "skipped": manifest.packing.skipped,
        "skipped_images": [image.model_dump() for image in manifest.packing.skipped_images],
        "seconds": round(seconds, 3),
        "images_per_second": None if present else round(request.num_samples / seconds, 1),
    }
    _print(summary, as_json, title="Already packed" if present else "Packed")


def verify_command(
    out: Annotated[Path, typer.Argument(help="Folder of a packed set.")],
    *,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Digest every file of a packed set and name all that is wrong; exit code 1 then."""
    with _errors_for_people():
        manifest = load_manifest(out)
        with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
            bar = progress.add_task("Verifying", total=manifest.size_bytes)
            problems = verify(
                out,
                manifest,
                num_processes=processes or _num_cores(),
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
    _print(summary, as_json, title="Not as packed" if problems else "All as packed")
    if problems:
        raise typer.Exit(1)


class _ImagesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _print(summary: dict[str, object], as_json: bool, *, title: str) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
        return
    table = Table(title=title, show_header=False)
    for name, value in summary.items():
        # What there is none of is counted in another row.
        if value != []:
            table.add_row(name.replace("_", " "), Text(_for_people(value)))
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
            # A path may hold bytes that are not UTF-8.
            return str(value).encode("utf-8", "backslashreplace").decode()


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Say what went wrong in one sentence; end in good order when told to."""
    # Like Ctrl-C, so that half-made files go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (DataError, WorkerDiedError, WorkerFailedError, OSError) as error:
        Console(stderr=True).print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        raise typer.Exit(1) from error


def _num_cores() -> int:
    # Those this process may use; macOS does not tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
