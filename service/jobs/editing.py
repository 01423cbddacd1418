"""What may be changed of a job while it waits and runs: pure. Its weights do not depend on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from service.jobs.events import Edited
from service.jobs.lifecycle import RefusedError
from service.jobs.records import JobRecord
from service.problems import SpecRefusedError, field_errors
from trainer.contract.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is to be otherwise of a job from now on."""

    priority: int | None = None
    """None: as it is."""
    labels: Mapping[str, str | None] = field(default_factory=dict)
    """None: without that label. Those that are not named stay."""


def edited(job: JobRecord, edit: Edit) -> tuple[JobSpec, Edited | None]:
    """Return the job's spec as it is to be, and what has changed; None: nothing has.

    Labels may be changed of a job that has ended too. Raises RefusedError where such a job is to
    have another priority, SpecRefusedError where the spec would not be valid.
    """
    spec = job.spec
    priority = spec.priority if edit.priority is None else edit.priority
    if priority != spec.priority and job.is_terminal:
        raise RefusedError(
            f"job {job.id} is {job.status}: it has no turn any more that a priority could change; "
            "its labels can be"
        )
    labels = {
        key: value for key, value in {**spec.labels, **edit.labels}.items() if value is not None
    }
    change = Edited(
        priority=None if priority == spec.priority else priority,
        labels={key: value for key, value in edit.labels.items() if spec.labels.get(key) != value},
    )
    if change.priority is None and not change.labels:
        return spec, None
    document = spec.model_dump(mode="json") | {"priority": priority, "labels": labels}
    try:
        return JobSpec.model_validate(document), change
    except ValidationError as error:
        raise SpecRefusedError(field_errors(error, document)) from error
