"""The end of a process that hangs, which comes whatever else hangs with it."""

import faulthandler
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from trainer.attempt.failures import Failure, write_failure
from trainer.contract.attempt import Outcome, Reason
from trainer.contract.run_directory import AttemptDirectory

_log = logging.getLogger(__name__)

# Assumed: time enough for a few lines on a slow file server.
_ENDS_WITHIN_S = 10.0


def end_hung(attempt: AttemptDirectory, hang: str) -> None:
    """Tell what was waited for, with the stacks of this process, rank 0, and end it."""
    try:
        # By a thread that needs no lock of the interpreter: the disk may be what hangs.
        nowhere = Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process lives
        faulthandler.dump_traceback_later(_ENDS_WITHIN_S, file=nowhere, exit=True)
        message = f"{hang}; the log has the stacks of rank 0"
        hung = Outcome(outcome="failed", reason=Reason.HUNG, message=message)
        with suppress(OSError):
            write_failure(attempt, 0, Failure(outcome=hung))
        _log.error("the attempt hangs: %s", message)
        faulthandler.dump_traceback(file=sys.stderr.fileno())
    finally:
        # What hangs would not let this process end in good order.
        os._exit(1)
