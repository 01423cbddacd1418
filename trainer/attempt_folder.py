"""The files of an attempt that are not the loop's: order, failures, outcome."""

import logging
import os
from pathlib import Path

from trainer.contract.attempt import AttemptOrder, Outcome, Reason
from trainer.contract.checkpoint_folder import list_folders
from trainer.contract.durable import write_whole
from trainer.contract.lineage import step_of
from trainer.contract.run_directory import AttemptDirectory, RunDirectory

_LINE = "%(asctime)s %(levelname)s %(message)s"


def attempt_at(folder: Path) -> AttemptDirectory:
    """Return the attempt whose folder is RUN_DIR/attempts/NUMBER."""
    folder = folder.absolute()
    return RunDirectory(folder.parents[1]).attempt(int(folder.name))


def read_order(attempt: AttemptDirectory) -> AttemptOrder:
    """Read what the attempt is told to do."""
    return AttemptOrder.model_validate_json(attempt.order.read_bytes())


def write_order(attempt: AttemptDirectory, order: AttemptOrder) -> None:
    """Create the attempt's folder with its order, for its owner's eyes: it may hold a token."""
    attempt.path.mkdir(parents=True)
    descriptor = os.open(attempt.order, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(order.model_dump_json(indent=1))


def write_outcome(attempt: AttemptDirectory, outcome: Outcome) -> Outcome:
    """Write how the attempt ended, with the steps that are committed; its last act."""
    folders = list_folders(RunDirectory(attempt.run))
    committed = step_of(str(folders[0])) if folders else None
    outcome = outcome.model_copy(update={"step": committed})
    write_whole(attempt.outcome, outcome.model_dump_json(indent=1).encode())
    return outcome


def read_failure(attempt: AttemptDirectory) -> Outcome | None:
    """Return the failure that ended the attempt, of those its replicas wrote; None: none did.

    When one replica fails, its peers soon fail for want of it: the cause is the first, and a
    foreseen reason tells more than a crash.
    """
    files = sorted(
        attempt.path.glob("failure-*.json"), key=lambda file: (file.stat().st_mtime, file.name)
    )
    failures = [Outcome.model_validate_json(file.read_bytes()) for file in files]
    return min(failures, key=lambda outcome: outcome.reason is Reason.CRASHED, default=None)


def log_to(attempt: AttemptDirectory, *, console: bool) -> None:
    """Send this process's log to the attempt's, and to standard error."""
    handlers: list[logging.Handler] = [logging.FileHandler(attempt.log)]
    if console:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(level=logging.INFO, format=_LINE, handlers=handlers, force=True)
    # One line a request would drown the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)
