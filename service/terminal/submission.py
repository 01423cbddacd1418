"""How commands submit: each submission has a key by which it can be repeated."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from service.client.client import Client
from service.client.errors import how_to_repeat
from service.terminal.options import errors
from service.views.jobs import Job

IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Of this submission: the same again with it makes no second job."
    ),
]


def submitted(client: Client, request: Mapping[str, Any], idempotency_key: str | None) -> Job:
    """Submit, with a new key for None. Raises what `Client.submit` does.

    Whoever ends it before it is answered is told how to repeat it.
    """
    key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
    try:
        return client.submit(request, idempotency_key=key)
    except KeyboardInterrupt:
        told = f"whether the job was submitted is not known: {how_to_repeat(key)}"
        errors.print(told, markup=False, highlight=False, soft_wrap=True)
        raise
