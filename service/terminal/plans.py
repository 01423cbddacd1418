"""`alexnet plan` and `clone`: what would become of a job, and an earlier one again."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from service.client.client import Client
from service.client.jobs import DEFAULT_URL
from service.errors import UserError
from service.terminal.options import AsJson, JobId, Url, console, print_answer
from service.terminal.plan_table import plan_table
from service.terminal.request import build_changes, build_request
from service.terminal.submission import IdempotencyKey, submitted
from service.views.plans import PlannedJob
from trainer.contract.spec import JobSpec

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a field: optim.epochs=3."),
]


class CalibrationError(UserError):
    """This machine could not measure the job's steps."""


class Calibration(BaseModel):
    """What `python -m trainer calibrate` measured."""

    images_per_second: float
    steps: int
    seconds: float


def plan(
    spec: Annotated[Path | None, typer.Argument(help="A JSON file with the spec.")] = None,
    *,
    preset: Annotated[str | None, typer.Option(help="Start from this preset.")] = None,
    train: Annotated[str | None, typer.Option(help="Manifest of the training shards.")] = None,
    validation: Annotated[str | None, typer.Option(help="Manifest to validate on.")] = None,
    settings: Settings = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure some steps here, on pixels that are made up."),
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a job; submit nothing.

    Steps, memory, shards, expected time, and whether it would start now.
    """
    request = build_request(
        spec, preset=preset, name=None, train=train, validation=validation, settings=settings or ()
    )
    with Client(url) as client:
        planned = client.plan(request)
    show(_calibrated(planned) if calibrate else planned, as_json=as_json)


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


def _calibrated(planned: PlannedJob) -> PlannedJob:
    """Return the plan with the speed that this machine has."""
    measured = _calibrate(planned.spec)
    images = planned.plan.epochs * planned.plan.num_samples
    replicas = planned.spec.scale.replicas
    # Assumed: the replicas do not wait for one another.
    rate = replicas * measured.images_per_second
    speed = planned.plan.speed.model_copy(
        update={
            "images_per_second": rate,
            "duration_s": images / rate,
            "like_job": None,
            "basis": f"{replicas} × one replica on this machine: {measured.steps} steps in "
            f"{measured.seconds:.1f} s, on pixels that are made up; loading is left out",
        }
    )
    return planned.model_copy(update={"plan": planned.plan.model_copy(update={"speed": speed})})


def _calibrate(spec: JobSpec) -> Calibration:
    with tempfile.TemporaryDirectory(prefix="alexnet-calibrate-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(spec.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "trainer", "calibrate", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        document: Any = json.loads(done.stdout.strip().splitlines()[-1])
        return Calibration.model_validate(document)
    except (IndexError, ValueError, ValidationError) as error:
        reason = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise CalibrationError(
            f"`python -m trainer calibrate` failed here: {reason[0]}; install the extra `worker`, "
            "or plan without --calibrate"
        ) from error
