"""`alexnet`: run the service, and everything the REST API can do, from a terminal."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.errors import UserError
from service.terminal import access, editing, files, history, plans
from service.terminal.cluster_table import cluster_tables
from service.terminal.follow import follow
from service.terminal.options import AsJson, JobId, Url, console, print_answer
from service.terminal.printable import printable
from service.terminal.report_table import report_table
from service.terminal.request import build_request
from service.terminal.tables import detail_table, job_table
from service.views.jobs import Job
from trainer.contract.status import Status

app = typer.Typer(
    help="Train AlexNet as a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
errors = Console(stderr=True)

access.register(app)
editing.register(app)
files.register(app)
history.register(app)
plans.register(app)

EXIT_CODES = {Status.SUCCEEDED: 0, Status.FAILED: 1, Status.CANCELLED: 3}


@app.command()
def submit(
    spec: Annotated[Path | None, typer.Argument(help="A JSON file with the spec.")] = None,
    *,
    preset: Annotated[str | None, typer.Option(help="Start from this preset.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Manifest of the training shards, or its URL.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Manifest to validate on, or its URL.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field: optim.epochs=3."),
    ] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Say what would become of it; submit nothing.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Submit a job, from a file, a preset, or both."""
    request = build_request(
        spec,
        preset=preset,
        name=name,
        train=train,
        validation=validation,
        settings=settings or (),
    )
    with Client(url) as client:
        if only_plan:
            plans.show(client.plan(request), as_json=as_json)
            return
        job = client.submit(request)
        if watch_it:
            _watch(client, job.id, as_json=as_json)
        else:
            print_answer(job, as_json, lambda: console.print(f"submitted job [bold]{job.id}[/]"))


@app.command()
def ls(
    status: Annotated[Status | None, typer.Option(help="Only jobs of this status.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only jobs with this label; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with Client(url) as client:
        page = client.list(status=status, labels=label or (), limit=limit)
    none = not page.jobs and not page.unreadable
    print_answer(
        page,
        as_json,
        lambda: console.print("no jobs" if none else job_table(page.jobs, page.unreadable)),
    )


@app.command()
def show(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one job with its attempts."""
    with Client(url) as client:
        job = client.get(job_id)
    print_answer(job, as_json, lambda: console.print(detail_table(job)))


@app.command()
def watch(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Follow a job until it ends, with curves of loss and images/s where there is a terminal.

    With --json a line for each event, and between them lines that say how far it is.

    Exits with 0 SUCCEEDED, 1 FAILED, 3 CANCELLED; 2 if the request is wrong, 4 if no service
    answers.
    """
    with Client(url) as client:
        _watch(client, job_id, as_json=as_json)


@app.command()
def cancel(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """End a job."""
    _ask(url, lambda client: client.cancel(job_id), as_json)


@app.command()
def pause(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Have a job checkpoint and give its devices back."""
    _ask(url, lambda client: client.pause(job_id), as_json)


@app.command()
def resume(
    job_id: JobId,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Go on with so many; a paused job alone.")
    ] = None,
) -> None:
    """Queue a paused job again; it goes on from its last checkpoint."""
    _ask(url, lambda client: client.resume(job_id, replicas=replicas), as_json)


@app.command()
def cluster(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of the queue, so many.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the nodes, who holds them, and the queue in order."""
    with Client(url) as client:
        seen = client.cluster(limit=limit)
    print_answer(seen, as_json, lambda: console.print(cluster_tables(seen)))


@app.command()
def report(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what came of a job, beside what the paper and others have published."""
    with Client(url) as client:
        found = client.report(job_id)
    print_answer(found, as_json, lambda: console.print(report_table(found)))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where everything lies.")] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Run the control plane. Every setting is also an environment variable ALEXNET_NAME."""
    # What only the server needs is loaded only here: the other commands start faster.
    from service.serve import serve as run  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    given: dict[str, Any] = {"host": host, "port": port, "state_dir": state_dir}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    run(settings, console, until_stdin_closes=until_stdin_closes)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything it makes lies.")] = Path(
        "build/demo"
    ),
    fashion_mnist: Annotated[
        Path | None, typer.Option(help="A folder that has Fashion-MNIST's four files.")
    ] = None,
) -> None:
    """From no data to a trained network: fetch, pack, serve, submit, follow."""
    from service.terminal.demo import run_demo  # noqa: PLC0415

    result = run_demo(folder=folder, source=fashion_mnist, console=console)
    sys.stdout.write(result.line() + "\n")
    raise typer.Exit(EXIT_CODES[Status(result.status)])


@app.command()
def stop(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing if nothing runs.")] = False,
) -> None:
    """Stop the local Ray that a killed control plane left behind, and nothing else."""
    from service.serve import stop_leftover_ray  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    stopped = stop_leftover_ray(Settings())
    if stopped or not quiet:
        console.print("stopped the local Ray" if stopped else "no local Ray was left behind")


def _ask(url: str, ask: Callable[[Client], Job], as_json: bool) -> None:
    with Client(url) as client:
        job = ask(client)
    print_answer(
        job,
        as_json,
        lambda: console.print(f"asked job {job.id} to {job.desired}; it is {job.status}"),
    )


def _watch(client: Client, job_id: str, *, as_json: bool) -> None:
    if as_json:
        for event in client.follow(job_id):
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()
        job = client.get(job_id)
    else:
        try:
            job = follow(client, job_id, console, curves=True)
        except KeyboardInterrupt:
            console.print(f"the job goes on; `alexnet cancel {job_id}` ends it")
            raise
        console.print(detail_table(job))
    raise typer.Exit(EXIT_CODES[job.status])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what can be foreseen is said without a traceback."""
    try:
        app(args=arguments)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except ValidationError as error:
        # Settings that follow from a wrong one are wrong with it; only the first is to mend.
        wrong = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        _fail("\n".join(_setting_message(one) for one in wrong), UserError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _setting_message(details: Any) -> str:
    field = "_".join(str(part) for part in details["loc"]).upper()
    message = str(details["msg"]).removeprefix("Value error, ")
    return f"ALEXNET_{field}: {message}" if field else message


def _fail(message: str, exit_code: int) -> None:
    # Not wrapped: a line that is searched or copied is one line.
    errors.print(printable(message), style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)
