"""How a spec names a checkpoint: a folder, or job:ID, or job:ID@STEP."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.contract.spec import JobSpec

_OF_A_JOB = "job:"
_JOB = re.compile(r"job:(?P<job_id>[A-Za-z0-9]{1,64})(?:@(?P<step>[0-9]{1,12}))?")


@dataclass(frozen=True)
class JobReference:
    """A checkpoint of a job: the latest, or that after a step."""

    job_id: str
    step: int | None


class BadReferenceError(ValueError):
    """A location begins as a job's, and goes on as none."""

    def __init__(self, location: str) -> None:
        super().__init__(f"{location!r} names no checkpoint; write job:ID, job:ID@STEP or a folder")


def job_reference(location: str) -> JobReference | None:
    """Read a location; None: it is a folder. Raises BadReferenceError."""
    if not location.startswith(_OF_A_JOB):
        return None
    found = _JOB.fullmatch(location)
    if found is None:
        raise BadReferenceError(location)
    step = found["step"]
    return JobReference(found["job_id"], None if step is None else int(step))


def named_checkpoints(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Yield the field and the location of every checkpoint that a spec names."""
    for place, location in enumerate(spec.evaluation.checkpoints):
        yield f"evaluation.checkpoints.{place}", location
    if spec.init_from is not None:
        yield "init_from.checkpoint", spec.init_from.checkpoint


def with_checkpoints(spec: JobSpec, folders: dict[str, str]) -> JobSpec:
    """Return the spec with other locations, by field as `named_checkpoints` gives them."""
    checkpoints = tuple(
        folders.get(f"evaluation.checkpoints.{place}", location)
        for place, location in enumerate(spec.evaluation.checkpoints)
    )
    evaluation = spec.evaluation.model_copy(update={"checkpoints": checkpoints})
    init_from = spec.init_from
    if init_from is not None:
        location = folders.get("init_from.checkpoint", init_from.checkpoint)
        init_from = init_from.model_copy(update={"checkpoint": location})
    return spec.model_copy(update={"evaluation": evaluation, "init_from": init_from})
