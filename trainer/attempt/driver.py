"""Who drives an attempt: the first process that begins to, for good.

No driver is ever started again under a number: what follows is another attempt. So whoever is not
the first ends, though the first be dead by then. That takes no lock, which not every shared file
system has, but a file that only one can make (docs/decisions/0020-an-attempt-has-one-driver.md).
"""

import json
import os
import socket
from contextlib import suppress

from trainer.contract.run_directory import AttemptDirectory


class AlreadyDrivenError(Exception):
    """Another process drives the attempt, or did."""

    def __init__(self, attempt: AttemptDirectory, driver: str) -> None:
        super().__init__(
            f"attempt {attempt.number} has a driver already ({driver}, as {attempt.driver} says): "
            "Ray was given it twice, so this process ends, and leaves alone what the other writes"
        )


def claim(attempt: AttemptDirectory) -> None:
    """Make this process the attempt's driver, for good. Raises AlreadyDrivenError, OSError."""
    try:
        file = attempt.driver.open("x", encoding="utf-8")
    except FileExistsError:
        raise AlreadyDrivenError(attempt, _driver_of(attempt)) from None
    # That it is there is enough, where its disk is full.
    with suppress(OSError), file:
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)


def _driver_of(attempt: AttemptDirectory) -> str:
    try:
        document = json.loads(attempt.driver.read_text(encoding="utf-8"))
        return f"process {document['pid']} on {document['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        # It may be at writing it, or could not.
        return "another process"
