"""The checkpoints that a spec names: where each lies, and what is wrong with it, by its field."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.contract.checkpoint_folder import CheckpointError
from trainer.contract.checkpoint_reference import BadReferenceError, job_reference
from trainer.errors import BadDataError, BadSpecError

_WHOLE = "name one that is whole (`alexnet checkpoints` lists those that a job keeps)"


def folder_at(field: str, location: str) -> Path:
    """Return the folder that a field of the spec names, unread. Raises BadSpecError."""
    try:
        of_a_job = job_reference(location) is not None
    except BadReferenceError as error:
        raise BadSpecError(f"{field}: {error}") from error
    if of_a_job:
        raise BadSpecError(
            f"{field}: {location} is known to the service alone; name the checkpoint's folder, "
            "attempts/NUMBER/checkpoints/step-NUMBER in the run directory of that job"
        )
    return Path(location).absolute()


@contextmanager
def refusing(field: str, *, mend: str | None = None) -> Iterator[None]:
    """Raise a CheckpointError as BadDataError that names the field: another try would be as bad."""
    try:
        yield
    except CheckpointError as error:
        raise BadDataError(f"{field}: {error}; {mend or _WHOLE}") from error
