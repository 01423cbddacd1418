"""The commands that run the service, here."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.terminal.exit_codes import exit_code_of
from service.terminal.options import console
from service.terminal.read_settings import read_settings
from trainer.contract.status import Status

# What only the server needs is loaded only in its commands: the others start faster.


def demo(
    folder: Annotated[Path, typer.Option(help="Where everything it makes lies.")] = Path(
        "build/demo"
    ),
    fashion_mnist: Annotated[
        Path | None, typer.Option(help="A folder that has Fashion-MNIST's four files.")
    ] = None,
) -> None:
    """Fetch, pack, serve and train: from no data to a network."""
    from service.terminal.demo import run_demo  # noqa: PLC0415

    result = run_demo(folder=folder, source=fashion_mnist, console=console)
    sys.stdout.write(result.line() + "\n")
    raise typer.Exit(exit_code_of(Status(result.status)))


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where everything lies.")] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Run the control plane. Every setting is also an environment variable ALEXNET_NAME."""
    from service.serve import serve as run  # noqa: PLC0415

    given: dict[str, Any] = {"host": host, "port": port, "state_dir": state_dir}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    run(settings, console, until_stdin_closes=until_stdin_closes)


def stop(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing if nothing runs.")] = False,
) -> None:
    """Stop the local Ray that a killed service left behind.

    It stops nothing else.
    """
    from service.serve import stop_leftover_ray  # noqa: PLC0415

    stopped = stop_leftover_ray(read_settings())
    if stopped or not quiet:
        console.print("stopped the local Ray" if stopped else "no local Ray was left behind")
