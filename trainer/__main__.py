"""`python -m trainer`: do a job here, run an attempt on Ray, describe or export a network."""

import logging
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainer.attempt.attempt_folder import attempt_at, log_to
from trainer.attempt.driver import AlreadyDrivenError, claim
from trainer.attempt.output import LogBound, capture_output
from trainer.commands import (
    BAD_USAGE,
    FAILED,
    INTERRUPTED,
    describe_command,
    export_command,
    stop,
)
from trainer.contract.death import NO_FOLDER, SECOND_DRIVER
from trainer.errors import BadSpecError
from trainer.running.local import RunDirectoryError, read_spec, train_here
from trainer.running.replica import record_outcome

_log = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    spec: Annotated[Path | None, typer.Option(help="Job as JSON; may name a preset.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="From the latest checkpoint.")] = False,
) -> None:
    """Do a job in this process, without Ray or the service; or use one of the commands."""
    if context.invoked_subcommand is not None:
        return
    if spec is None or run_dir is None:
        stop("name both --spec job.json and --run-dir DIR; --help tells more", BAD_USAGE)
    try:
        job = read_spec(spec)
    except BadSpecError as error:
        stop(str(error), BAD_USAGE)
    try:
        outcome = train_here(job, run_dir, resume=resume, console=Console(stderr=True))
    except (BadSpecError, RunDirectoryError) as error:
        stop(str(error), BAD_USAGE)
    except KeyboardInterrupt:
        # The others have no checkpoints.
        mend = "go on from the latest checkpoint" if job.kind == "train" else "begin again"
        options = shlex.join(["--spec", str(spec), "--run-dir", str(run_dir), "--resume"])
        stop(f"stopped; {mend} with: python -m trainer {options}", INTERRUPTED)
    typer.echo(outcome.model_dump_json(exclude_none=True))
    raise typer.Exit(FAILED if outcome.outcome == "failed" else 0)


@app.command()
def attempt(folder: Annotated[Path, typer.Argument(help="RUN_DIR/attempts/NUMBER")]) -> None:
    """Run an attempt on the Ray cluster, as its order.json says: what a Ray job runs."""
    directory = attempt_at(folder)
    try:
        claim(directory)
        # Whoever has a driver has a log: none is put in its place.
        console = capture_output(directory)
        log_to(directory, console=console.err)
    except AlreadyDrivenError as error:
        # The log and the outcome are the other's.
        stop(str(error), SECOND_DRIVER)
    except OSError as error:
        stop(f"{folder} cannot be used ({error}); bring back its disk", NO_FOLDER)
    LogBound(directory.log).start()
    try:
        # Importing Ray takes seconds that the other commands need not spend.
        from trainer.running.ray_train import run_on_ray  # noqa: PLC0415

        outcome = record_outcome(directory, run_on_ray(directory))
    except Exception as error:
        # Ray tells the end of what it was printed: here too, and not in the log alone.
        _log.exception("the attempt's driver failed")
        raise typer.Exit(FAILED) from error
    typer.echo(outcome.model_dump_json(exclude_none=True), file=console.out)
    raise typer.Exit(FAILED if outcome.outcome == "failed" else 0)


@app.command(hidden=True)
def release(group: Annotated[str, typer.Argument(help="Its id, in hexadecimal.")]) -> None:
    """Give back a placement group that a driver which died has left: what a Ray job runs."""
    from trainer.running.release import release_group  # noqa: PLC0415

    release_group(group)


app.command("describe")(describe_command)
app.command("export")(export_command)


if __name__ == "__main__":
    app(prog_name="python -m trainer")
