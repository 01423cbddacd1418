"""`pack`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import DownloadColumn, MofNCompleteColumn, Progress, TransferSpeedColumn

from data_shards.commands.console import (
    AsJson,
    ImagesPerSecond,
    Processes,
    errors_for_people,
    num_cores,
    print_summary,
    progress_bar,
)
from data_shards.packing.decompressed import folder_for_decompressed
from data_shards.packing.pack import PackReport, pack
from data_shards.packing.request import PackRequest
from data_shards.sources.choose import open_source
from data_shards.sources.source import OnProgress


def pack_command(
    source: Annotated[
        str,
        typer.Argument(
            help="What holds the images: a folder, an archive, or tars as "
            "'train-{000000..000146}.tar'; as a path or a URL."
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(
            help="Folder for the shards and their manifest, or its URL in an object store, such as "
            "s3://bucket/train."
        ),
    ],
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
    no_resize: Annotated[
        bool,
        typer.Option(
            "--no-resize",
            help="Store images of any size, JPEGs as they came and others as JPEGs; squares are "
            "made as they are read. Mean image and RGB PCA are of the squares.",
        ),
    ] = False,
    label_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Field of KEY.json that is the label, in a WebDataset.",
            show_default="KEY.cls",
        ),
    ] = None,
    processes: Processes = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this machine for what is not kept: the shards at hand, one for each "
            "process, where they go to an object store; an archive that must be decompressed.",
            show_default="the user's cache",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Start anew, and replace what was packed there before, finished or not; images "
            "that changed but kept their size are not noticed without.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack images into WebDataset shards, squared as the paper did (section 2).

    What was interrupted, by whatever, goes on by the same command: finished shards are kept.
    """
    with errors_for_people(), folder_for_decompressed(source, out, scratch) as decompressed:
        with _listing(split) as on_progress:
            opened = open_source(
                source,
                split,
                label_field=label_field,
                scratch=decompressed,
                on_progress=on_progress,
            )
        request = PackRequest(
            source=opened,
            split=split,
            size=size,
            encoding=encoding,
            quality=quality,
            samples_per_shard=samples_per_shard,
            limit=limit,
            seed=seed,
            squared=not no_resize,
        )
        with progress_bar(MofNCompleteColumn(), ImagesPerSecond()) as progress:
            bar = progress.add_task(f"Packing {split}", total=request.num_samples)
            report = pack(
                request,
                out,
                num_processes=processes or num_cores(),
                force=force,
                scratch=scratch,
                on_images=lambda count: progress.advance(bar, count),
                on_taken=lambda count: count_taken(progress, count),
            )
            if report.already_packed:
                count_taken(progress, request.num_samples)
    title = "Already packed" if report.already_packed else "Packed"
    print_summary({"out": out, "split": split, **summary_of(report)}, as_json, title=title)


@contextmanager
def _listing(split: str) -> Iterator[OnProgress]:
    """Show how far the listing is, of a source that takes long enough to tell."""
    progress = progress_bar(DownloadColumn(), TransferSpeedColumn())

    def update(done: int, total: int) -> None:
        if not progress.tasks:
            progress.add_task(f"Listing {split}")
            progress.start()
        progress.update(progress.task_ids[0], completed=done, total=total)

    try:
        yield update
    finally:
        if progress.tasks:
            progress.stop()


def summary_of(report: PackReport) -> dict[str, object]:
    """Return what people and programs are told of a run."""
    manifest = report.manifest
    speed = report.images_per_second
    of_this_run: dict[str, object] = {
        "shards_of_earlier_run": report.shards_taken,
        "images_of_earlier_run": report.num_taken,
        "seconds": round(report.seconds, 3),
        "images_per_second": round(speed, 1),
        "images_per_second_and_core": round(speed / min(report.num_packers or 1, num_cores()), 1),
        "peak_memory_bytes": report.peak_memory_bytes,
        "packer_peak_memory_bytes": report.packer_peak_memory_bytes,
    }
    return {
        "already_packed": report.already_packed,
        "num_samples": manifest.num_samples,
        "num_classes": len(manifest.classes),
        "num_shards": len(manifest.shards),
        "size_bytes": manifest.size_bytes,
        "skipped": manifest.packing.skipped,
        "skipped_images": [image.model_dump() for image in manifest.packing.skipped_images],
        # The same names always, for programs.
        **(dict.fromkeys(of_this_run) if report.already_packed else of_this_run),
    }


def count_taken(progress: Progress, count: int) -> None:
    """Count what was found done as done, but not as work of which the speed tells."""
    # Progress.advance would do the latter too.
    progress.tasks[0].completed += count
