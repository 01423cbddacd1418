"""How commands submit: each submission has a key by which it can be repeated."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from service.client.client import Client
from service.client.errors import SubmissionLostError
from service.terminal.exit_codes import ExitCode
from service.views.jobs import Job

IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Of this submission: the same again with it makes no second job."
    ),
]


class InterruptedSubmissionError(SubmissionLostError):
    """Ctrl-C, before the submission was answered."""

    exit_code = ExitCode.INTERRUPTED


def submitted(client: Client, request: Mapping[str, Any], idempotency_key: str | None) -> Job:
    """Submit, with a new key for None.

    Raises what `Client.submit` does, and InterruptedSubmissionError.
    """
    key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
    try:
        return client.submit(request, idempotency_key=key)
    except KeyboardInterrupt as end:
        raise InterruptedSubmissionError("interrupted", key) from end
