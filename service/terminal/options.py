"""What commands share: options, and how an answer is printed."""

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.errors import UserError


class _Console(Console):
    """Leaves it to the command line what becomes of output that nobody reads."""

    def on_broken_pipe(self) -> None:
        """Raise it as it came."""
        raise BrokenPipeError


console = _Console()
errors = _Console(stderr=True)

Url = Annotated[str, typer.Option("--url", envvar="ALEXNET_URL", help="Address of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def _job_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs whose ids begin so, with their names, for the shell."""
    try:
        with Client(os.environ.get("ALEXNET_URL", DEFAULT_URL)) as client:
            newest = client.list(limit=100).jobs
    except UserError:
        return []
    return [(job.id, job.name) for job in newest if job.id.startswith(incomplete)]


JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job.", autocompletion=_job_ids)
]


def print_answer(answer: BaseModel, as_json: bool, show_it: Callable[[], Any]) -> None:
    """Print an answer as JSON, or have it shown to people."""
    if as_json:
        sys.stdout.write(json.dumps(answer.model_dump(mode="json"), indent=1) + "\n")
    else:
        show_it()
