"""Training in this process, without Ray or the service, for debugging."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from rich.console import Console

from data_shards.errors import DataError
from data_shards.storage.location import is_url
from trainer.attempt.attempt_folder import log_to
from trainer.contract.attempt import AttemptOrder, Outcome
from trainer.contract.checkpoint_folder import (
    Checkpoint,
    CheckpointError,
    Latest,
    latest_checkpoint,
)
from trainer.contract.durable import DiskFullError
from trainer.contract.order_file import write_order
from trainer.contract.presets import UnknownPresetError, expand_preset
from trainer.contract.run_directory import AttemptDirectory, RunDirectory
from trainer.contract.spec import JobSpec
from trainer.contract.spec_error import SpecError
from trainer.errors import BadSpecError, TrainingError
from trainer.running.console import ProgressLine
from trainer.running.replica import failure, record_failure, record_outcome, run_replica

Devices = tuple[torch.device, torch.device]


class RunDirectoryError(Exception):
    """The run directory cannot be made, holds a run already, or holds none to resume."""


def read_spec(file: Path) -> JobSpec:
    """Read a job from JSON, a preset expanded. Raises BadSpecError, which names the field."""
    try:
        request: Any = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(request, dict):
            raise BadSpecError(f"{file} does not hold a JSON object")
        return JobSpec.model_validate(expand_preset(request))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadSpecError(f"{file} cannot be read: {error}") from error
    except UnknownPresetError as error:
        raise BadSpecError(f"{file}: {error}") from error
    except ValidationError as error:
        raise BadSpecError(f"{file}: {_first_problem(error)}") from error


def read_preset(name: str) -> JobSpec:
    """Return a preset as a job without data. Raises BadSpecError if there is none of that name."""
    # What every request must bring, and no preset has.
    own = {"name": "preset", "data": {"train": "none", "validation": "none"}}
    try:
        return JobSpec.model_validate(expand_preset({"preset": name, **own}))
    except UnknownPresetError as error:
        raise BadSpecError(str(error)) from error


def read_either(*, spec: Path | None, preset: str | None) -> JobSpec:
    """Read a job from JSON or a preset, whichever is named. Raises BadSpecError."""
    if spec is not None and preset is None:
        return read_spec(spec)
    if preset is not None and spec is None:
        return read_preset(preset)
    raise BadSpecError("name either --preset NAME or --spec job.json")


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    broken_rule = first.get("ctx", {}).get("error")
    if isinstance(broken_rule, SpecError):
        return str(broken_rule)
    where = ".".join(map(str, first["loc"])) or "the spec"
    return f"{where}: {first['msg']}"


def train_here(spec: JobSpec, run_dir: Path, *, resume: bool, console: Console) -> Outcome:
    """Run the next attempt of a run in this process, as one replica, and return its outcome.

    Raises RunDirectoryError, or BadSpecError where the devices of the spec are not there;
    KeyboardInterrupt ends it cleanly between two checkpoints.
    """
    devices = _devices_here(spec)
    run = RunDirectory(run_dir.absolute())
    latest = _latest(run, resume=resume)
    for refused in latest.damaged:
        console.print(f"refused: {refused}", markup=False, soft_wrap=True)
    order = _next_order(spec, run, latest.checkpoint)
    attempt = run.attempt(order.attempt)
    try:
        write_order(attempt, order)
        log_to(attempt)
    except DiskFullError as error:
        raise RunDirectoryError(f"--run-dir: {error}") from error
    except OSError as error:
        raise RunDirectoryError(
            f"--run-dir {run.path} cannot be written to ({error}); name a folder that can be"
        ) from error
    if order.resume_from is not None:
        console.print(f"resuming from {order.resume_from}", markup=False, soft_wrap=True)
    elif spec.init_from is not None:
        origin = spec.init_from.checkpoint
        console.print(f"beginning with the weights of {origin}", markup=False, soft_wrap=True)
    with ProgressLine(console) as line:
        outcome = _run(order, attempt, devices, line)
    return record_outcome(attempt, outcome)


def _run(
    order: AttemptOrder, attempt: AttemptDirectory, devices: Devices, line: ProgressLine
) -> Outcome:
    try:
        with record_failure(attempt, rank=0):
            return run_replica(order, attempt, devices, watch=line.show)
    except (TrainingError, DataError, CheckpointError, DiskFullError) as error:
        # Foreseen: the outcome tells all that there is. Anything else shows its traceback.
        return failure(error)


def _latest(run: RunDirectory, *, resume: bool) -> Latest:
    newest = run.newest_attempt()
    if newest and not resume:
        raise RunDirectoryError(
            f"{run.path} holds a run already; go on with it by --resume, or name another --run-dir"
        )
    if resume and not newest:
        raise RunDirectoryError(f"{run.path} holds no run to resume; leave --resume out")
    try:
        return latest_checkpoint(run)
    except OSError as error:
        raise RunDirectoryError(
            f"--run-dir {run.path} cannot be read ({error}); bring back its disk and try again"
        ) from error


def _next_order(spec: JobSpec, run: RunDirectory, latest: Checkpoint | None) -> AttemptOrder:
    return AttemptOrder(
        job_id=run.path.name,
        attempt=run.newest_attempt() + 1,
        spec=_as_done_here(spec),
        accelerator=_accelerator(spec),
        resume_from=None if latest is None else str(latest.folder.relative_to(run.path)),
    )


def _as_done_here(spec: JobSpec) -> JobSpec:
    """Return the spec with paths that mean the same in any folder, and one replica.

    One process is one replica; the weights do not depend on how many there are.
    """
    train, validation = (
        location if is_url(location) else str(Path(location).absolute())
        for location in (spec.data.train, spec.data.validation)
    )
    data = spec.data.model_copy(update={"train": train, "validation": validation})
    scale = spec.scale.model_copy(update={"replicas": 1})
    return spec.model_copy(update={"data": data, "scale": scale})


def _accelerator(spec: JobSpec) -> Literal["cpu", "gpu"]:
    if spec.scale.accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return spec.scale.accelerator


def _devices_here(spec: JobSpec) -> Devices:
    """Return the devices of the two towers; raises BadSpecError where GPUs are missing."""
    if _accelerator(spec) == "cpu":
        return torch.device("cpu"), torch.device("cpu")
    wanted, found = spec.scale.devices_per_replica, torch.cuda.device_count()
    if found == 0:
        raise BadSpecError("scale.accelerator: gpu is asked for, torch sees none; set it to cpu")
    if found < wanted:
        raise BadSpecError(
            f"scale.devices_per_replica: {wanted} GPUs are asked for, torch sees {found}; "
            "set it to 1, or scale.accelerator = cpu"
        )
    return torch.device("cuda", 0), torch.device("cuda", wanted - 1)
