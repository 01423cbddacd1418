"""`shuffle-quality`."""

import json
from dataclasses import asdict
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_shards.commands.console import AsJson, SetLocation, errors_for_people, for_terminal
from data_shards.errors import PlanError
from data_shards.feeding.shuffle_quality import ShuffleQuality, presented, shuffle_quality
from data_shards.inspection.opened_set import open_set
from data_shards.order import epoch_order
from data_shards.shards.index import LABEL, SHARD


def shuffle_quality_command(
    location: SetLocation,
    *,
    seed: Annotated[int, typer.Option(min=0, help="The job's seed.")] = 0,
    epoch: Annotated[int, typer.Option(min=0, help="Which epoch.")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="The job's data.num_streams.")] = 8,
    window: Annotated[int, typer.Option(min=1, help="The job's data.window, in shards.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="The job's optim.global_batch_size.")] = 128,
    as_json: AsJson = False,
) -> None:
    """Measure how well a job would shuffle a packed set, beside a full shuffle of it."""
    with errors_for_people():
        if batch % streams:
            raise PlanError(f"{streams} streams do not divide the batch of {batch}")
        opened = open_set(location)
        sizes = [shard.num_samples for shard in opened.manifest.shards]
        index = opened.index()
    shards, labels = np.array(index[:, SHARD]), np.array(index[:, LABEL])

    def measure(*, num_streams: int, num_shards: int) -> ShuffleQuality:
        order = epoch_order(
            sizes, seed=seed, epoch=epoch, num_streams=num_streams, window=num_shards
        )
        return shuffle_quality(
            presented(order, batch), shards=shards, labels=labels, batch_size=batch
        )

    ours = asdict(measure(num_streams=streams, num_shards=window))
    full = asdict(measure(num_streams=1, num_shards=len(sizes)))
    if as_json:
        asked = {"seed": seed, "epoch": epoch, "streams": streams, "window": window, "batch": batch}
        typer.echo(json.dumps({**asked, "quality": ours, "full_shuffle": full}))
        return
    table = Table(title=Text(for_terminal(opened.folder.location)), title_justify="left")
    table.add_column("")
    table.add_column(f"{streams} streams, window {window}", justify="right")
    table.add_column("full shuffle", justify="right")
    for name, value in ours.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}", f"{full[name]:.4f}")
    Console().print(table)
