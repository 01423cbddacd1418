"""The log of an attempt whose driver died before it had one: what Ray has of it stands there."""

import logging
from collections.abc import Callable

from service.cluster.ray_jobs import RayUnreachableError
from trainer.contract.durable import write_whole
from trainer.contract.run_directory import AttemptDirectory

logger = logging.getLogger(__name__)

HEADING = "--- the driver ended before it had a log of its own; this is what Ray has of it ---\n"


def lacks_log(attempt: AttemptDirectory) -> bool:
    """Say whether nothing is in an attempt's log, as far as its folder can be read."""
    try:
        return attempt.log.stat().st_size == 0
    except FileNotFoundError:
        return True
    except OSError:
        # Nor could one be put there.
        return False


def keep_driver_log(attempt: AttemptDirectory, ask: Callable[[], str], message: str | None) -> None:
    """Put what a driver printed, or Ray's `message` where that is nothing, in place of its log.

    Only of a driver that has ended, and has no log: nobody writes to one. `ask`: Ray, for what it
    printed. Whatever hinders it costs that log, not the attempt's end.
    """
    try:
        printed = ask()
    except RayUnreachableError as error:
        logger.warning("Ray does not tell what the driver of %s printed: %s", attempt.path, error)
        printed = ""
    told = printed or message
    if not told:
        return
    try:
        write_whole(attempt.log, f"{HEADING}{told.rstrip()}\n".encode(errors="replace"))
    except OSError as error:
        logger.warning("the log of a driver cannot be kept: %s", error)
