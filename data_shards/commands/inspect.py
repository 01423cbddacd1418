"""`inspect`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from data_shards.commands.console import (
    AsJson,
    SetLocation,
    errors_for_people,
    for_terminal,
    print_error,
)
from data_shards.commands.picture import problem_of_picture
from data_shards.inspection.describe import Description, describe
from data_shards.inspection.opened_set import OpenedSet, open_set
from data_shards.inspection.sheet_of_set import sheet_of_set
from data_shards.manifest import Manifest, Packing

# Enough to see what kind of names they have.
_FEW_CLASSES = 10


def inspect_command(
    location: SetLocation,
    *,
    all_classes: Annotated[
        bool, typer.Option("--classes", help="List every class, not only the first few.")
    ] = False,
    shards: Annotated[bool, typer.Option("--shards", help="List every shard.")] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            help="Draw samples with their labels as this PNG; its font has Latin letters alone.",
            metavar="OUT.png",
        ),
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=30, help="Images in a row of it.")] = 8,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows of it.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Draws which samples it shows.")] = 0,
    by_class: Annotated[bool, typer.Option("--by-class", help="A class a row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in a packed set; with --contact-sheet, its images too."""
    if contact_sheet is not None and (problem := problem_of_picture(contact_sheet)):
        raise typer.BadParameter(problem, param_hint="'--contact-sheet'")
    with errors_for_people():
        opened = open_set(location)
        description = describe(opened)
        if contact_sheet is not None:
            sheet = sheet_of_set(opened, columns=columns, rows=rows, seed=seed, by_class=by_class)
            sheet.save(contact_sheet)
    if as_json:
        typer.echo(json.dumps(_document(opened, description, contact_sheet)))
    else:
        for each in _tables(opened, description, all_classes=all_classes, shards=shards):
            Console().print(each)
        if contact_sheet is not None:
            told = Text(for_terminal(f"Contact sheet: {contact_sheet}"))
            Console().print(told, soft_wrap=True)
    if description.problems:
        # What could be read was shown; whoever asks by exit code hears that it is not all.
        for problem in description.problems:
            print_error(problem)
        raise typer.Exit(1)


def _document(
    opened: OpenedSet, description: Description, contact_sheet: Path | None
) -> dict[str, object]:
    """Return all of it, for --json."""
    manifest = opened.manifest
    counts = description.class_counts
    document = manifest.model_dump(mode="json")
    document["classes"] = [
        {"label": label, **entry.model_dump(), "num_samples": counts[label] if counts else None}
        for label, entry in enumerate(manifest.classes)
    ]
    balance = description.balance
    return {
        "location": opened.folder.location,
        "content_sha256": manifest.content_sha256(),
        "size_bytes": manifest.size_bytes,
        "bytes_per_sample": round(manifest.size_bytes / manifest.num_samples, 1),
        "mean_colour": description.mean_colour,
        "class_balance": asdict(balance) if balance else None,
        "contact_sheet": None if contact_sheet is None else str(contact_sheet),
        "problems": list(description.problems),
        **document,
    }


def _tables(
    opened: OpenedSet, description: Description, *, all_classes: bool, shards: bool
) -> Iterator[Table | Text]:
    """Yield the set, its classes and perhaps its shards, as tables."""
    manifest = opened.manifest
    yield _set_table(opened, description)
    shown = len(manifest.classes) if all_classes else min(len(manifest.classes), _FEW_CLASSES)
    yield _class_table(manifest, description, shown)
    if shown < len(manifest.classes):
        yield Text(f"and {len(manifest.classes) - shown:,} more classes; --classes shows them")
    if shards:
        yield _shard_table(manifest)


def _set_table(opened: OpenedSet, description: Description) -> Table:
    manifest = opened.manifest
    stored = "as they came, squared when read"
    if manifest.squared:
        quality = manifest.packing.quality
        stored = manifest.encoding + ("" if quality is None else f" of quality {quality}")
    size = manifest.size_bytes
    table = Table(
        title=Text(for_terminal(opened.folder.location)), show_header=False, title_justify="left"
    )
    for name, value in {
        "split": manifest.split,
        "samples": f"{manifest.num_samples:,}",
        "classes": f"{len(manifest.classes):,}" + _in_words(description),
        "shards": f"{len(manifest.shards):,}",
        "size": f"{decimal(size)}, {decimal(round(size / manifest.num_samples))} a sample",
        "images": f"{manifest.image_size}×{manifest.image_size}, {stored}",
        "mean colour": _numbers(description.mean_colour),
        "PCA eigenvalues": _numbers(manifest.rgb_pca.eigenvalues),
        "made from": _origin(manifest.packing),
        "skipped": _skipped(manifest.packing),
    }.items():
        table.add_row(name, Text(for_terminal(value)))
    return table


def _in_words(description: Description) -> str:
    balance = description.balance
    if balance is None:
        return ""
    if balance.smallest == balance.largest:
        return f"; {balance.smallest:,} in each"
    words = (
        f"; {balance.smallest:,} to {balance.largest:,} samples in each, "
        f"median {balance.median:,.10g}"
    )
    if balance.num_empty:
        words += f"; {balance.num_empty:,} without any"
    return words


def _numbers(values: tuple[float, ...] | None) -> str:
    return "-" if values is None else ", ".join(f"{value:,.1f}" for value in values)


def _origin(packing: Packing) -> str:
    limit = "" if packing.limit is None else f", {packing.limit:,} samples at most"
    return f"{packing.source}, seed {packing.seed}{limit}"


def _skipped(packing: Packing) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in packing.skipped.items())
    images = [f"{image.path}: {image.reason}" for image in packing.skipped_images]
    # Whole tars are named too, but are no samples.
    named = sum(image.reason in packing.skipped for image in packing.skipped_images)
    unnamed = sum(packing.skipped.values()) - named
    more = [f"and {unnamed:,} more"] if unnamed else []
    return "\n".join([counts or "no samples", *images, *more]) if counts or images else "none"


def _class_table(manifest: Manifest, description: Description, shown: int) -> Table:
    classes = manifest.classes
    table = Table()
    table.add_column("label", justify="right")
    table.add_column("class", overflow="fold")
    with_synsets = any(entry.synset for entry in classes)
    if with_synsets:
        table.add_column("synset")
    table.add_column("samples", justify="right")
    counts = description.class_counts
    for label, entry in enumerate(classes[:shown]):
        table.add_row(
            str(label),
            Text(for_terminal(entry.name)),
            *([Text(for_terminal(entry.synset or ""))] if with_synsets else []),
            "-" if counts is None else f"{counts[label]:,}",
        )
    return table


def _shard_table(manifest: Manifest) -> Table:
    table = Table()
    table.add_column("shard", overflow="fold")
    table.add_column("samples", justify="right")
    table.add_column("size", justify="right")
    table.add_column("sha256")
    for entry in manifest.shards:
        table.add_row(
            entry.name, f"{entry.num_samples:,}", decimal(entry.size_bytes), entry.sha256[:16] + "…"
        )
    return table
