"""`alexnet webhooks`: who is told what happens to jobs."""

import textwrap
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.terminal.exit_codes import ExitCode
from service.terminal.options import AsJson, Url, console, errors, print_answer
from service.terminal.printable import printable
from service.views.webhooks import CreatedWebhook, WebhookList, WebhookTry, WebhookView
from service.webhooks.happenings import ENDED, Happening

webhooks = typer.Typer(help="Addresses that are told what happens to jobs.", no_args_is_help=True)

_MAX_DETAIL = 40
WebhookId = Annotated[str, typer.Argument(metavar="ID", help="As `webhooks list` shows it.")]


@webhooks.command("create", epilog="Example: alexnet webhooks create https://hooks.example.org/a")
def create_webhook(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to POST; https.")],
    *,
    events: Annotated[
        list[Happening] | None,
        typer.Option(
            "--event",
            metavar="EVENT",
            help="Tell of this, such as job.failed; may be repeated. Default: that a job ended, "
            "however.",
        ),
    ] = None,
    all_jobs: Annotated[
        bool, typer.Option("--all-jobs", help="Of every job, not your own alone; for admins.")
    ] = False,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    service: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Have an address told what happens to jobs.

    Its secret is printed this once: messages are signed with it (standardwebhooks.com;
    docs/operating.md).
    """
    with Client(service) as client:
        made = client.create_webhook(
            url, events=events or ENDED, all_jobs=all_jobs, description=description
        )
    print_answer(made, as_json, lambda: _print_created(made))


def _print_created(made: CreatedWebhook) -> None:
    console.print(f"webhook [bold]{made.id}[/]; its secret, which is not shown again:")
    console.print(made.secret, markup=False, highlight=False, soft_wrap=True)


@webhooks.command("list", epilog="Example: alexnet webhooks list --json")
def list_webhooks(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List webhooks, with what became of the last message.

    Admins see all, others their own.
    """
    with Client(url) as client:
        found = WebhookList(webhooks=client.webhooks())
    print_answer(
        found,
        as_json,
        lambda: console.print(webhook_table(found.webhooks) if found.webhooks else "no webhooks"),
    )


@webhooks.command("test", epilog="Example: alexnet webhooks test 4f1c2a90be77")
def try_webhook(webhook_id: WebhookId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Send a webhook a message now.

    Exits with 1 where it is not taken.
    """
    with Client(url) as client:
        tried = client.test_webhook(webhook_id)
    print_answer(tried, as_json, lambda: _print_try(tried))
    if not tried.delivered:
        raise typer.Exit(ExitCode.FAILED)


def _print_try(tried: WebhookTry) -> None:
    if tried.delivered:
        console.print(f"delivered: {printable(tried.detail)}", markup=False, soft_wrap=True)
    else:
        text = f"not delivered: {printable(tried.detail)}"
        errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


@webhooks.command("delete", epilog="Example: alexnet webhooks delete 4f1c2a90be77")
def delete_webhook(webhook_id: WebhookId, url: Url = DEFAULT_URL) -> None:
    """Have a webhook told nothing more, but for what is on its way."""
    with Client(url) as client:
        client.delete_webhook(webhook_id)
    console.print(f"webhook {webhook_id} is deleted")


def webhook_table(webhooks: Sequence[WebhookView]) -> Table:
    """One row a webhook."""
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "OWNER", "JOBS", "WAIT", "LOST", "LAST", "URL, EVENTS"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading in {"ID", "JOBS", "WAIT", "LOST"}
        )
    for one in webhooks:
        told = Text(one.url)
        told.append(f"\n{', '.join(one.events)}", style="dim")
        if one.description:
            told.append(f"\n{printable(one.description)}", style="dim")
        table.add_row(
            one.id,
            Text(one.owner or ""),
            "all" if one.all_jobs else "own",
            str(one.pending),
            str(one.num_given_up),
            _last(one.last_try),
            told,
        )
    return table


def _last(tried: WebhookTry | None) -> Text:
    if tried is None:
        return Text("never")
    # A line of the table is a few words wide; `--json` tells all.
    detail = textwrap.shorten(printable(tried.detail), _MAX_DETAIL, placeholder="…")
    return Text(
        f"{tried.at:%Y-%m-%d %H:%M} {detail}",
        style="green" if tried.delivered else "red",
    )
