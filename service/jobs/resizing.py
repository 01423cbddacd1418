"""Going on with other replicas: pure. The order of the data does not depend on their number."""

from pydantic import ValidationError

from service.jobs.lifecycle import RefusedError
from service.jobs.records import JobRecord
from trainer.contract.spec import JobSpec
from trainer.contract.status import Status


class ReplicasRefusedError(ValueError):
    """A job cannot be cut into so many replicas; the message says why and what would fit."""


def resized(job: JobRecord, replicas: int) -> JobSpec:
    """Return the job's spec with so many replicas.

    Raises RefusedError unless it is paused: an attempt that runs, or may begin at any moment, has
    those that it has. Raises ReplicasRefusedError where they do not divide streams and batch.
    """
    if job.spec.scale.replicas == replicas:
        return job.spec
    if job.status is not Status.PAUSED:
        raise RefusedError(
            f"job {job.id} is {job.status}; pause it, and resume it with {replicas} replicas once "
            "it is PAUSED"
        )
    document = job.spec.model_dump(mode="json")
    document["scale"]["replicas"] = replicas
    try:
        return JobSpec.model_validate(document)
    except ValidationError as error:
        fitting = ", ".join(map(str, _fitting(job.spec)))
        problems = "; ".join(str(item["msg"]) for item in error.errors())
        raise ReplicasRefusedError(f"{problems}; of this job {fitting} would fit") from error


def _fitting(spec: JobSpec) -> list[int]:
    streams, batch = spec.data.num_streams, spec.optim.global_batch_size
    micro = spec.optim.micro_batch_size
    return [
        replicas
        for replicas in range(1, streams + 1)
        if streams % replicas == 0 and (micro is None or (batch // replicas) % micro == 0)
    ]
