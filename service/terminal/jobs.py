"""The commands about jobs: submit them, look at them, change them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.terminal import plans
from service.terminal.cluster_table import cluster_tables
from service.terminal.exit_codes import exit_code_of
from service.terminal.follow import follow, say_it_goes_on
from service.terminal.options import AsJson, JobId, Url, console, print_answer
from service.terminal.report_table import report_table
from service.terminal.request import build_request
from service.terminal.submission import IdempotencyKey, submitted
from service.terminal.tables import detail_table, job_table
from service.views.jobs import Job
from trainer.contract.status import Status


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
    settings: plans.Settings = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Say what would become of it; submit nothing.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
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
        job = submitted(client, request, idempotency_key)
        if watch_it:
            _watch(client, job.id, as_json=as_json)
        else:
            print_answer(job, as_json, lambda: console.print(f"submitted job [bold]{job.id}[/]"))


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


def show(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one job with its attempts."""
    with Client(url) as client:
        job = client.get(job_id)
    print_answer(job, as_json, lambda: console.print(detail_table(job)))


def watch(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Follow a job until it ends, with curves in a terminal.

    With --json a line for each event, and between them lines that say how far it is. Exits as the
    job ended: 0 SUCCEEDED, 1 FAILED, 3 CANCELLED.
    """
    with Client(url) as client:
        _watch(client, job_id, as_json=as_json)


def wait(
    job_id: JobId,
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait no longer than this.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Wait until a job has ended, and show it then; for scripts.

    Exits as the job ended: 0 SUCCEEDED, 1 FAILED, 3 CANCELLED; 124 where it has not in time.
    """
    with Client(url) as client:
        try:
            job = client.wait(job_id, timeout_s=timeout)
        except KeyboardInterrupt:
            say_it_goes_on(job_id)
            raise
    print_answer(job, as_json, lambda: console.print(detail_table(job)))
    raise typer.Exit(exit_code_of(job.status))


def report(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what came of a job, beside published results."""
    with Client(url) as client:
        found = client.report(job_id)
    print_answer(found, as_json, lambda: console.print(report_table(found)))


def pause(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Have a job checkpoint and give its devices back."""
    _ask(url, lambda client: client.pause(job_id), as_json)


def resume(
    job_id: JobId,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Go on with so many; a paused job alone.")
    ] = None,
) -> None:
    """Queue a paused job again, from its last checkpoint."""
    _ask(url, lambda client: client.resume(job_id, replicas=replicas), as_json)


def cancel(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """End a job."""
    _ask(url, lambda client: client.cancel(job_id), as_json)


def delete(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Delete a job that has ended, with all its files."""
    with Client(url) as client:
        client.delete(job_id)
    console.print(f"job {job_id} is deleted")


def cluster(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of the queue, so many.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the nodes, who holds them, and the queue in order."""
    with Client(url) as client:
        seen = client.cluster(limit=limit)
    print_answer(seen, as_json, lambda: console.print(cluster_tables(seen)))


def _ask(url: str, ask: Callable[[Client], Job], as_json: bool) -> None:
    with Client(url) as client:
        job = ask(client)
    print_answer(
        job,
        as_json,
        lambda: console.print(f"asked job {job.id} to {job.desired}; it is {job.status}"),
    )


def _watch(client: Client, job_id: str, *, as_json: bool) -> None:
    try:
        if as_json:
            for event in client.follow(job_id):
                sys.stdout.write(event.model_dump_json() + "\n")
                sys.stdout.flush()
            job = client.get(job_id)
        else:
            job = follow(client, job_id, console, curves=True)
            console.print(detail_table(job))
    except KeyboardInterrupt:
        say_it_goes_on(job_id)
        raise
    raise typer.Exit(exit_code_of(job.status))
