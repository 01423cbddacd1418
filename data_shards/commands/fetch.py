"""`fetch`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from data_shards.commands.console import errors_for_people
from data_shards.sources.fetch import FILES, fetch_fashion_mnist


def fetch_command(
    dataset: Annotated[Literal["fashion-mnist"], typer.Argument(help="The data set.")],
    out: Annotated[Path, typer.Argument(help="Folder for its files.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder that holds them already, or below it.")
    ] = None,
) -> None:
    """Get a public data set: from a local folder, Debian's package, or torchvision."""
    console = Console(stderr=True)
    with errors_for_people():
        present = fetch_fashion_mnist(out, source=source, say=console.print)
    state = "were there already" if present else "fetched"
    Console().print(f"{dataset}: {len(FILES)} files {state} in {out}", soft_wrap=True)
