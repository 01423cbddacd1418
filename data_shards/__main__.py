"""`python -m data_shards fetch|pack|index|inspect|verify|shuffle-quality|batch`."""

import typer

from data_shards.commands.batch import batch_command
from data_shards.commands.fetch import fetch_command
from data_shards.commands.index import index_command
from data_shards.commands.inspect import inspect_command
from data_shards.commands.pack import pack_command
from data_shards.commands.shuffle_quality import shuffle_quality_command
from data_shards.commands.verify import verify_command

app = typer.Typer(
    help="Pack, index, inspect and verify WebDataset shards to train on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("fetch")(fetch_command)
app.command("pack")(pack_command)
app.command("index")(index_command)
app.command("inspect")(inspect_command)
app.command("verify")(verify_command)
app.command("shuffle-quality")(shuffle_quality_command)
app.command("batch")(batch_command)


if __name__ == "__main__":
    app(prog_name="python -m data_shards")
