"""What a command exits with, for scripts: the one table, which docs/commands.md repeats."""

from enum import IntEnum
from typing import Self

from service.client.errors import NotEndedError, ServiceUnreachableError
from service.errors import UserError
from trainer.contract.status import Status


class ExitCode(IntEnum):
    """How a command went."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make the code with what it says."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "Done; where a job was followed to its end, it SUCCEEDED."
    FAILED = 1, "The followed job FAILED, or the tested webhook took nothing."
    REFUSED = UserError.exit_code, "What was asked is wrong, or the service refuses it."
    CANCELLED = 3, "The job that was followed was CANCELLED."
    NO_SERVICE = ServiceUnreachableError.exit_code, "No service answers."
    FAULT = 70, "A fault of the command itself; its traceback says where."
    NOT_WRITTEN = 74, "What it gives could not be written, as to a full disk."
    NOT_ENDED = NotEndedError.exit_code, "The job has not ended within --timeout."
    INTERRUPTED = 130, "Ctrl-C. A job that was followed goes on."
    NO_READER = 141, "Whoever read the output has gone, as `head` does."


_BY_STATUS = {
    Status.SUCCEEDED: ExitCode.DONE,
    Status.FAILED: ExitCode.FAILED,
    Status.CANCELLED: ExitCode.CANCELLED,
}


def exit_code_of(status: Status) -> ExitCode:
    """Return what following a job to its end exits with."""
    return _BY_STATUS[status]
