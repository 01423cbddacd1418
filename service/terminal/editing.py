"""`alexnet edit`: another priority, other labels."""

from collections.abc import Sequence
from typing import Annotated

import typer

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.terminal.options import AsJson, JobId, Url, console, print_answer
from service.terminal.request import RequestError
from service.views.jobs import Job


def edit(
    job_id: JobId,
    *,
    priority: Annotated[
        int | None, typer.Option(help="Higher goes first; of a job that has not ended.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Set this label; may be repeated."),
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Remove this one; may be repeated.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a job another priority or other labels.

    Whatever is not named stays.
    """
    labels = _labels(label or (), remove_label or ())
    if priority is None and not labels:
        raise RequestError("nothing is to change; give --priority, --label or --remove-label")
    with Client(url) as client:
        job = client.edit(job_id, priority=priority, labels=labels)
    print_answer(job, as_json, lambda: console.print(_told(job), markup=False, highlight=False))


def _labels(given: Sequence[str], removed: Sequence[str]) -> dict[str, str | None]:
    labels: dict[str, str | None] = dict.fromkeys(removed)
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise RequestError(f"--label {one}: write KEY=VALUE, such as team=vision")
        if key in labels:
            raise RequestError(f"--label {one}: {key} is named twice; set or remove it once")
        labels[key] = value
    return labels


def _told(job: Job) -> str:
    labels = " ".join(f"{key}={value}" for key, value in job.spec.labels.items()) or "none"
    return f"job {job.id} has priority {job.spec.priority}; labels: {labels}"
