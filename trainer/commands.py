"""The commands beside training: results to stdout, progress to stderr, errors as one sentence."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from trainer.contract.checkpoint_folder import CheckpointError
from trainer.contract.description import describe
from trainer.contract.durable import write_whole
from trainer.errors import BadSpecError
from trainer.exporting.export import ExportMismatchError, Format, export
from trainer.exporting.trained import ExportError, read_trained
from trainer.network.describe import tables
from trainer.running.local import read_either, read_spec

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130


def describe_command(
    preset: Annotated[str | None, typer.Option(help="paper, small, ...")] = None,
    spec: Annotated[Path | None, typer.Option(help="Job as JSON; may name a preset.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a network's layers, shapes, parameters, what its towers exchange, and memory."""
    try:
        described = describe(read_either(spec=spec, preset=preset))
    except BadSpecError as error:
        stop(str(error), BAD_USAGE)
    if as_json:
        typer.echo(described.model_dump_json())
    else:
        Console().print(tables(described))


def export_command(
    source: Annotated[Path, typer.Argument(help="A checkpoint's folder, or a run directory.")],
    *,
    to: Annotated[Format, typer.Option("--format", help="Of the file.")],
    output: Annotated[Path, typer.Option(help="The file to write.")],
    spec: Annotated[
        Path | None, typer.Option(help="Job of the checkpoint, where its run does not tell.")
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(help="Manifest of the training shards, where they were moved; or its URL."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a trained network as one file for use elsewhere, checked against the checkpoint."""
    if output.is_dir():
        stop(f"--output {output} is a folder; name a file", BAD_USAGE)
    if not output.parent.is_dir():
        stop(f"--output {output}: there is no folder {output.parent}; make it first", BAD_USAGE)
    if output.exists() and not force:
        stop(f"--output {output} is there already; name another, or use --force", BAD_USAGE)
    try:
        job = None if spec is None else read_spec(spec)
        say = Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print
        trained = read_trained(source, spec=job, manifest=manifest, say=say)
        exported = export(trained, to)
    except ExportMismatchError as error:
        stop(str(error), FAILED)
    except (BadSpecError, CheckpointError, ExportError) as error:
        stop(str(error), BAD_USAGE)
    except OSError as error:
        stop(f"{source} cannot be exported now ({error}); try again when its disk is back", FAILED)
    try:
        write_whole(output, exported.content)
    except OSError as error:
        stop(f"--output {output} cannot be written: {error.strerror}; name another", BAD_USAGE)
    typer.echo(
        f"{output}: {len(exported.content) / 1e6:,.1f} MB of {to}, step {trained.about.step}; "
        f"checked: its logits are the checkpoint's to {exported.difference:.0e} of the largest"
    )


def stop(message: str, code: int) -> NoReturn:
    """End the process with one sentence and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
