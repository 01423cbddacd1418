"""What commands share: options, and how an answer is printed."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

console = Console()
errors = Console(stderr=True)

Url = Annotated[str, typer.Option("--url", envvar="ALEXNET_URL", help="Address of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


def print_answer(answer: BaseModel, as_json: bool, show_it: Callable[[], Any]) -> None:
    """Print an answer as JSON, or have it shown to people."""
    if as_json:
        sys.stdout.write(json.dumps(answer.model_dump(mode="json"), indent=1) + "\n")
    else:
        show_it()
