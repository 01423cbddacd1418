"""The log of an attempt whose driver died before it had one: what Ray has of it stands there."""

import logging
from collections.abc import Callable

from service.cluster.ray_jobs import RayUnreachableError
from trainer.contract.run_directory import AttemptDirectory

logger = logging.getLogger(__name__)

HEADING = "--- the driver ended before it had a log of its own; this is what Ray has of it ---\n"


def lacks_log(attempt: AttemptDirectory) -> bool:
    """Say whether an attempt has no log, and no driver that may be about to make one."""
    try:
        names = {path.name for path in attempt.path.iterdir()}
    except OSError:
        # Nor could one be put there.
        return False
    return attempt.driver.name not in names and attempt.log.name not in names


def keep_driver_log(attempt: AttemptDirectory, ask: Callable[[], str], message: str | None) -> bool:
    """Make a log of what a driver printed, and of Ray's `message` where that tells more.

    Never in place of one that is there. `ask`: Ray, for what it printed. Whatever hinders it costs
    that log, not the attempt's end. Return whether there is no more to be asked for.
    """
    printed, is_told = "", True
    try:
        printed = ask()
    except RayUnreachableError as error:
        logger.warning("Ray does not tell what the driver of %s printed: %s", attempt.path, error)
        is_told = False
    texts = [printed.strip(), (message or "").strip()]
    if texts[0] and texts[1].endswith(texts[0].splitlines()[-1]):
        # Of a driver that fails Ray tells what it printed last.
        del texts[1]
    told = "\n".join(text for text in texts if text)
    if not told:
        return is_told
    try:
        with attempt.log.open("xb") as log:
            log.write(f"{HEADING}{told}\n".encode(errors="replace"))
    except OSError as error:
        logger.warning("the log of a driver cannot be kept: %s", error)
        return False
    return is_told
