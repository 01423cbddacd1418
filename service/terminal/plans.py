"""`alexnet plan` and `clone`: what would become of a job, and an earlier one again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.terminal.exit_codes import exit_code_of
from service.terminal.follow import follow, last_line, say_it_goes_on
from service.terminal.options import AsJson, JobId, Url, console, errors, print_answer
from service.terminal.plan_table import plan_table
from service.terminal.printable import printable
from service.terminal.request import RequestError, build_changes, build_request
from service.terminal.submission import IdempotencyKey, submitted
from service.views.plans import PlannedJob
from trainer.contract.status import Status

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a field: optim.epochs=3."),
]


# The longest that a job may have.
_NAME_CHARACTERS = 80


def plan(
    spec: Annotated[Path | None, typer.Argument(help="A JSON file with the spec.")] = None,
    *,
    preset: Annotated[str | None, typer.Option(help="Start from this preset.")] = None,
    train: Annotated[str | None, typer.Option(help="Manifest of the training shards.")] = None,
    validation: Annotated[str | None, typer.Option(help="Manifest to validate on.")] = None,
    settings: Settings = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure first, in some steps of it on the cluster."),
    ] = False,
    idempotency_key: IdempotencyKey = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a job; submit nothing.

    Steps, memory and whether it fits, shards, expected time, and when it would start. With
    --calibrate another job is submitted, which measures how fast this one trains, and waited for;
    where it does not succeed, exits as it ended: 1 FAILED, 3 CANCELLED.
    """
    request = build_request(
        spec, preset=preset, name=None, train=train, validation=validation, settings=settings or ()
    )
    with Client(url) as client:
        planned = client.plan(request)
        if calibrate:
            _check_calibration(planned)
            job_id = _calibrate(client, request, planned, idempotency_key, as_json=as_json)
            planned = client.plan(request)
            if planned.plan.speed.like_job != job_id:
                _say(f"the plan does not go by calibration {job_id}: {planned.plan.speed.basis}")
    show(planned, as_json=as_json)


def clone(
    job_id: JobId,
    *,
    settings: Settings = None,
    idempotency_key: IdempotencyKey = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Submit an earlier job again, with changes.

    null takes a field back to its default.
    """
    changes = build_changes(settings or ())
    with Client(url) as client:
        job = submitted(client, changes | {"clone": job_id}, idempotency_key)
    print_answer(
        job,
        as_json,
        lambda: console.print(f"submitted job [bold]{job.id}[/], a clone of {job_id}"),
    )


def show(planned: PlannedJob, *, as_json: bool) -> None:
    """Print a plan."""
    print_answer(planned, as_json, lambda: console.print(plan_table(planned)))


def _check_calibration(planned: PlannedJob) -> None:
    """Raise RequestError where a calibration of the job would come to nothing."""
    spec, plan = planned.spec, planned.plan
    if spec.kind != "train":
        raise RequestError(
            f"--calibrate measures how fast a job trains, and this one is of kind {spec.kind}; "
            "leave it out"
        )
    if plan.start.when == "never":
        raise RequestError(f"a calibration would never start: {plan.start.message}")
    for shards in plan.shards:
        # A calibration reads no other.
        if shards.split == "train" and shards.num_wrong:
            raise RequestError(
                f"a calibration would fail: of the training shards {shards.num_wrong:,} are wrong "
                f"({'; '.join(shards.wrong)})"
            )


def _calibrate(
    client: Client,
    request: Mapping[str, Any],
    planned: PlannedJob,
    idempotency_key: str | None,
    *,
    as_json: bool,
) -> str:
    """Have the cluster measure some steps of a job; return the id of the job that does.

    How that goes is said on standard error.
    """
    name = f"calibration of {planned.spec.name}"[:_NAME_CHARACTERS]
    # Labels are what runs are found and compared by, and this is none.
    calibration = {**request, "kind": "calibrate", "name": name, "labels": {}}
    job_id = submitted(client, calibration, idempotency_key).id
    _say(f"submitted calibration {job_id}")
    start = planned.plan.start
    if start.when != "now":
        _say(f"when it starts: {start.message}")
    try:
        job = client.wait(job_id) if as_json else follow(client, job_id, errors)
    except BaseException:
        say_it_goes_on(job_id)
        raise
    if job.status is not Status.SUCCEEDED:
        why = f" ({last_line(job.message)})" if job.message else ""
        _say(f"calibration {job_id} {job.status}{why}; `alexnet logs {job_id}` tells more")
        raise typer.Exit(exit_code_of(job.status))
    return job_id


def _say(line: str) -> None:
    errors.print(printable(line), markup=False, soft_wrap=True)
