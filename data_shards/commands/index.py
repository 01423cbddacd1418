"""`index`."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskProgressColumn, TextColumn

from data_shards.commands.console import (
    AsJson,
    Processes,
    errors_for_people,
    num_cores,
    print_summary,
    progress_bar,
)
from data_shards.errors import ForeignSetError
from data_shards.inspection.index_foreign import (
    IndexReport,
    IndexRequest,
    held,
    index_foreign,
    tars_to_index,
)
from data_shards.manifest import ClassEntry
from data_shards.sources.class_names import CLASSES_FILE, read_classes
from data_shards.storage.folder import Folder, open_folder
from data_shards.storage.local_folder import LocalFolder


def index_command(
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION", help="Folder of the tars, as a path or a URL such as s3://a/b."
        ),
    ],
    *,
    split: Annotated[str, typer.Option(help="Name of the split: train, validation, ...")],
    tars: Annotated[
        str,
        typer.Option(
            metavar="GLOB", help="Which tars; those of another split need a folder of their own."
        ),
    ] = "*.tar",
    image_size: Annotated[
        int,
        typer.Option(min=1, max=4096, help="Edge of the square that images become, pixels."),
    ] = 256,
    label_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Field of KEY.json that is the label.", show_default="KEY.cls"
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes, a line each, from label 0 on.",
            show_default=f"{CLASSES_FILE} beside the tars, else as the labels are",
        ),
    ] = None,
    statistics_limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images that are decoded, and mean and PCA made of.", show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Draws those images.")] = 0,
    leave_out_refused: Annotated[
        bool,
        typer.Option(
            "--leave-out-refused", help="Index the rest where tars are broken or hostile."
        ),
    ] = False,
    processes: Processes = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a manifest that is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a manifest for WebDataset tars packed elsewhere, to train on them as they are.

    A sample is consecutive members of one KEY: an image (.jpg, .png, .webp, ...) and a label.
    """
    started = time.monotonic()
    with errors_for_people(), held(folder := open_folder(location)):
        found = tars_to_index(folder, tars, force=force)
        request = IndexRequest(
            folder=folder,
            split=split,
            image_size=image_size,
            label_field=label_field,
            classes=_classes(folder, classes),
            statistics_limit=statistics_limit,
            seed=seed,
            leave_out_refused=leave_out_refused,
        )
        samples = TextColumn("{task.fields[samples]:,} samples")
        with progress_bar(TaskProgressColumn(), samples) as progress:
            bar = progress.add_task(f"Indexing {split}", total=2 * sum(found.values()), samples=0)

            def advance(size: int, num_samples: int) -> None:
                seen = progress.tasks[0].fields["samples"] + num_samples
                progress.update(bar, advance=size, samples=seen)

            report = index_foreign(
                request, found, num_processes=processes or num_cores(), on_progress=advance
            )
    seconds = time.monotonic() - started
    print_summary(
        {"location": folder.location, **_summary(report), "seconds": round(seconds, 3)},
        as_json,
        title="Indexed",
    )


def _classes(folder: Folder, file: Path | None) -> tuple[ClassEntry, ...] | None:
    """Return the classes that a file names; that beside the tars, if there is one, by default."""
    if file is None:
        return read_classes(folder)
    classes = read_classes(LocalFolder(file.parent), file.name)
    if classes is None:
        raise ForeignSetError(f"{file} does not exist; name the file of the classes' names")
    return classes


def _summary(report: IndexReport) -> dict[str, object]:
    manifest = report.manifest
    return {
        "split": manifest.split,
        "num_samples": manifest.num_samples,
        "num_classes": len(manifest.classes),
        "num_shards": len(manifest.shards),
        "size_bytes": manifest.size_bytes,
        "squared": manifest.squared,
        "images_in_statistics": report.num_counted,
        "skipped": manifest.packing.skipped,
        "skipped_images": [image.model_dump() for image in manifest.packing.skipped_images],
        "refused": [{"tar": name, "problem": why} for name, why in report.refused.items()],
    }
