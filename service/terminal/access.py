"""The commands of those who run the service: tokens, quotas, usage, audit, drain."""

import getpass
import json
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from service.access.caller import Role
from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.errors import UserError
from service.terminal.access_tables import audit_table, token_table, usage_table
from service.terminal.options import AsJson, Url, console, print_answer
from service.views.access import (
    AuditPage,
    Description,
    DrainState,
    Owner,
    QuotaView,
    TokenList,
    UsageList,
)

tokens = typer.Typer(
    help="Who may do what. On the machine of the service: works on its store directly.",
    no_args_is_help=True,
)

POLL_S = 1.0
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class OptionError(UserError):
    """An option cannot be used; the message says which and what to write."""


@tokens.command("create", epilog="Example: alexnet tokens create --owner alice --role admin")
def create_token(
    owner: Annotated[str, typer.Option(help="Whose it is: a person, a team, a program.")],
    role: Annotated[Role, typer.Option(help="viewer reads, submitter submits, admin does all.")],
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="Ends after so many h, d or w.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once."""
    # What only the store needs is loaded only here.
    from service.terminal.token_store import create  # noqa: PLC0415

    created = create(
        owner=_checked("--owner", Owner, owner),
        role=role,
        expires_in=None if expires is None else duration(expires),
        description=_checked("--description", Description, description),
        by=local_actor(),
    )
    if as_json:
        sys.stdout.write(json.dumps(created.model_dump(mode="json"), indent=1) + "\n")
    else:
        # The token alone on standard output, for `alexnet tokens create ... > ~/.config/...`.
        sys.stdout.write(created.token + "\n")


@tokens.command("list", epilog="Example: alexnet tokens list --json")
def list_tokens(as_json: AsJson = False) -> None:
    """List every token, the newest first."""
    from service.terminal.token_store import read_all  # noqa: PLC0415

    found = TokenList(tokens=read_all())
    shown = token_table(found.tokens) if found.tokens else "no tokens"
    print_answer(found, as_json, lambda: console.print(shown))


@tokens.command("revoke", epilog="Example: alexnet tokens revoke 4f1c2a90be77")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `tokens list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a token, from this moment on."""
    from service.terminal.token_store import revoke  # noqa: PLC0415

    revoked = revoke(token_id, by=local_actor())
    print_answer(revoked, as_json, lambda: console.print(f"token {revoked.id} is revoked"))


def audit(
    target: Annotated[str | None, typer.Option(help="Only of this job, token or owner.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, the newest first."""
    with Client(url) as client:
        entries = tuple(islice(client.audit(target=target, limit=min(limit, 500)), limit))
    page = AuditPage(entries=entries, next_cursor=None)
    print_answer(page, as_json, lambda: console.print(audit_table(entries)))


def usage(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what owners have of what they may have.

    Admins see all owners, others themselves.
    """
    with Client(url) as client:
        found = UsageList(usage=client.usage())
    shown = usage_table(found.usage) if found.usage else "no owners"
    print_answer(found, as_json, lambda: console.print(shown))


def quota(
    owner: Annotated[str, typer.Argument(help="Whose quota.")],
    *,
    max_active_jobs: Annotated[
        str | None, typer.Option(metavar="N", help="That hold devices at once.")
    ] = None,
    max_queued_jobs: Annotated[str | None, typer.Option(metavar="N", help="That wait.")] = None,
    gpu_hours: Annotated[str | None, typer.Option(metavar="N", help="All in all.")] = None,
    disk_bytes: Annotated[str | None, typer.Option(metavar="N", help="In run directories.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show or change what an owner may have.

    What is given is changed; `none` lifts a limit.
    """
    given = {
        "max_active_jobs": max_active_jobs,
        "max_queued_jobs": max_queued_jobs,
        "gpu_hours": gpu_hours,
        "disk_bytes": disk_bytes,
    }
    changes = {name: None if value == "none" else value for name, value in given.items() if value}
    with Client(url) as client:
        found = client.quota(_checked("OWNER", Owner, owner))
        if changes:
            found = client.set_quota(owner, _changed(found, changes))

    def show_it() -> None:
        for name, value in found.model_dump().items():
            console.print(f"{name}: {'no limit' if value is None else f'{value:,}'}")

    print_answer(found, as_json, show_it)


def drain(
    pause: Annotated[
        bool, typer.Option("--pause", help="Pause what runs; it goes on at undrain.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing runs.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Begin no attempt until `undrain`, for an upgrade.

    Jobs queue meanwhile.
    """
    with Client(url) as client:
        state = client.drain(pause=pause)
        if wait:
            state = until_idle(client.drain_state)
    print_answer(state, as_json, lambda: console.print(_drain_line(state)))


def undrain(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Begin attempts again.

    Of what was paused for the drain too.
    """
    with Client(url) as client:
        state = client.undrain()
    print_answer(state, as_json, lambda: console.print(_drain_line(state)))


def duration(text: str) -> timedelta:
    """Read such as 12h, 90d, 4w; raise OptionError."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise OptionError(f"--expires {text}: write a number and h, d or w, such as 90d")
    return int(found[1]) * _UNITS[found[2]]


def until_idle(
    look: Callable[[], DrainState], sleep: Callable[[float], None] = time.sleep
) -> DrainState:
    """Return when no job holds devices any more, or the drain was ended by somebody else."""
    while (state := look()).draining and state.active_jobs:
        sleep(POLL_S)
    return state


def local_actor() -> str:
    """Return who runs this, for the audit log."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        # A user id without a name, as in some containers.
        return "command line"


def _checked(option: str, kind: Any, value: str) -> str:
    try:
        checked: str = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise OptionError(f"{option} {value!r}: {error.errors()[0]['msg']}") from error
    return checked


def _changed(quota: QuotaView, changes: dict[str, str | None]) -> QuotaView:
    try:
        return QuotaView.model_validate(quota.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise OptionError(f"--{option} {first['input']}: {first['msg']}") from error


def _drain_line(state: DrainState) -> str:
    if not state.draining:
        return "the service does not drain: attempts begin"
    since: datetime | None = state.since
    at = "" if since is None else f" since {since:%Y-%m-%d %H:%M:%S} UTC"
    return f"the service drains{at}; jobs that hold devices: {state.active_jobs}"
