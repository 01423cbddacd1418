"""What replicas wrote of their failures, and which of them, or of Ray's words, is the cause."""

from pydantic import Field

from trainer.contract.attempt import Outcome, Reason
from trainer.contract.durable import write_whole
from trainer.contract.model import Record
from trainer.contract.run_directory import AttemptDirectory


class Failure(Record):
    """Why one replica failed: attempts/NUMBER/failure-RANK.json."""

    outcome: Outcome
    follows: bool = Field(
        default=False, description="It came of the death of another process, which may tell more."
    )


def write_failure(attempt: AttemptDirectory, rank: int, failure: Failure) -> None:
    """Write why a replica failed. Raises OSError."""
    write_whole(attempt.failure(rank), failure.model_dump_json(indent=1).encode())


def read_failure(attempt: AttemptDirectory) -> Failure | None:
    """Return the failure that tells most, of those its replicas wrote; None: none did.

    A foreseen reason tells more than a crash, and a crash of a replica's own more than the want of
    another; of those alike, the first was the cause.
    """
    files = sorted(
        attempt.path.glob("failure-*.json"), key=lambda file: (file.stat().st_mtime, file.name)
    )
    failures = [Failure.model_validate_json(file.read_bytes()) for file in files]
    return min(
        failures,
        key=lambda failure: (failure.outcome.reason is Reason.CRASHED, failure.follows),
        default=None,
    )


def cause(told: Failure | None, seen: Outcome) -> Outcome:
    """Return why an attempt failed: by what its replicas told, and by what was seen from outside.

    `seen` may be of others on the machine, and so says nothing against an error that a replica
    met by itself. One that died without a word leaves only those to tell that want it.
    """
    if told is None:
        return seen
    if told.follows and seen.reason is not Reason.CRASHED:
        return seen
    return told.outcome
