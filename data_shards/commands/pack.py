"""`pack`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import MofNCompleteColumn

from data_shards.commands.console import (
    AsJson,
    ImagesPerSecond,
    Processes,
    errors_for_people,
    num_cores,
    print_summary,
    progress_bar,
)
from data_shards.packing.pack import PackRequest, pack
from data_shards.sources.choose import open_source


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
    with errors_for_people():
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
        with progress_bar(MofNCompleteColumn(), ImagesPerSecond()) as progress:
            bar = progress.add_task(f"Packing {split}", total=request.num_samples)
            manifest, present = pack(
                request,
                out,
                num_processes=processes or num_cores(),
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
    print_summary(summary, as_json, title="Already packed" if present else "Packed")
